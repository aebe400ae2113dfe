"""One text at a time: encoding, white space, markup, and what surrounds the text."""
