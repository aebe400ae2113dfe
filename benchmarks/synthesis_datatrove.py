"""datatrove's inference runner on prompts from a file: `python synthesis_datatrove.py PROMPTS URL MODEL TOKENS FOLDER`.

Runs in an environment of its own with datatrove[io]; the server at URL is up already. Prints output tokens and the
seconds from the first document to the last.
"""

import json
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter


def main(prompts_file: str, url: str, model: str, max_tokens: int, folder: str) -> None:
    with open(prompts_file, encoding="utf-8") as lines:
        prompts = json.load(lines)
    documents = [Document(text=f"{index}", id=str(index), metadata={}) for index in range(len(prompts))]
    tokens: list[int] = []

    async def rollout(document: Document, generate):  # type: ignore[no-untyped-def]
        result = await generate({"prompt": prompts[int(document.id)], "max_tokens": max_tokens, "temperature": 0.0})
        tokens.append(result.usage["completion_tokens"])
        return result

    config = InferenceConfig(
        server_type="endpoint",
        endpoint_url=url,
        model_name_or_path=model,
        use_chat=False,
        max_concurrent_generations=256,
        server_ready_delay_sec=0.1,
    )
    runner = InferenceRunner(rollout_fn=rollout, config=config, output_writer=JsonlWriter(folder, compression=None))
    started = time.monotonic()
    runner.run(documents, 0, 1)
    print(json.dumps({"tokens": sum(tokens), "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
