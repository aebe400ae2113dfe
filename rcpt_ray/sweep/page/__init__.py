"""The sweep's report: sentences, tables and plots of what was tried and what it says."""
