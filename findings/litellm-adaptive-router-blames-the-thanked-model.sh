#!/usr/bin/env bash
# litellm==1.108.7: the adaptive router learns which model to choose from what users say next. Thanks are documented to
# count for the model, and a question asked again in other words against it. Told from the words alone: thanks count
# once in a conversation, from its third turn on, while every message that shares a word, be it "the", with the one
# before it, but less than half of all, counts as asked again, also where it says thanks. A rejection in a word or two
# shares none and counts for nothing. So the longer users go on with a model that they are pleased with, the worse it is
# rated, and one that they dismiss keeps its rating. Below users thank one model for every answer and go on about their
# script, and reply to the other with a "Wrong.", "Useless." and so on. Seen: with the first alone 140 such thanks count
# 20 times for it and 100 times against it, and its quality falls from 0.50 to 0.19. With both it falls to 0.47 and is
# chosen for 44%, while that of the second stays at 0.50 after 150 rejections. The documentation calls the signals based
# on patterns and biased towards English, not turned over. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check litellm==1.108.7
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR "$folder/bin/python" - <<'PY'
import asyncio
import random

from litellm import Router

FIRST = "Write a Python script that counts the errors in a log file."
PRAISE = ["Perfect, that worked. Can you add a progress bar to it?", "Great, thanks! Now write the result to a file.",
          "Exactly what I needed. How do I run it every night?", "Excellent. What does the third line of the loop do?",
          "Thank you, works now! Please sort the rows by date.", "Nice. Could you make the path an argument?",
          "That did it, thanks. Add a test for an empty file, please.", "Great. Which version does it need?"]
REJECTION = ["Wrong.", "No!", "Useless.", "Still broken.", "Nonsense.", "Incorrect, sorry.", "Worse.", "Hopeless."]


def deployment(name):
    """A model; all have one price and one tier, the middle one, so that the router begins with 0.5 for each."""
    return {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "none"},
            "model_info": {"input_cost_per_token": 1e-6, "adaptive_router_preferences": {"quality_tier": 2}}}


async def learned(models, conversations, turns=8):
    """(of each model the cells that something was learned in, the models chosen); `good` is thanked, `bad` rejected."""
    config = {"available_models": models, "weights": {"quality": 0.7, "cost": 0.3}}
    adaptive = {"model": "auto_router/adaptive_router", "adaptive_router_config": config}
    router = Router(model_list=[*map(deployment, models), {"model_name": "adaptive", "litellm_params": adaptive}])
    random.seed(0)  # of the router's draws and of the answers
    said, chosen = random.Random(0), []
    for conversation in range(conversations):
        messages = [{"role": "user", "content": FIRST}]
        replies = {"good": said.sample(PRAISE, turns), "bad": said.sample(REJECTION, turns)}
        for turn in range(turns):
            answer = await router.acompletion(
                model="adaptive", messages=messages, metadata={"session_id": f"{len(models)} {conversation}"},
                mock_response=" ".join(str(random.random()) for _ in range(4)))
            chosen.append(answer.model.split("/")[-1])
            messages += [{"role": "assistant", "content": answer.choices[0].message.content},
                         {"role": "user", "content": replies[chosen[-1]][turn]}]
            await asyncio.sleep(0.02)  # the router learns after the answer was returned
    await asyncio.sleep(1)
    state = await router.adaptive_routers["adaptive"][0].strategy.get_state_snapshot()  # what the proxy's /state gives
    return {model: [cell for cell in state["cells"] if cell["model"] == model and cell["samples"]]
            for model in models}, chosen


async def main():
    cells, chosen = await learned(["good"], 20)
    [good] = cells["good"]
    print(f"good alone: {len(chosen)} answers, all but the last of each of 20 conversations with thanks; counted "
          f"{good['alpha'] - 5:.0f} times for it and {good['beta'] - 5:.0f} times against it, quality 0.5 -> "
          f"{good['quality_mean']:.2f}")
    assert good["alpha"] - 5 <= 20 and good["beta"] - 5 > 60 and good["quality_mean"] < 0.3
    cells, chosen = await learned(["good", "bad"], 40)
    [good] = cells["good"]
    later = chosen[len(chosen) // 2:]
    share = later.count("good") / len(later)
    print(f"good and bad: good answered {chosen.count('good')} times, quality 0.5 -> {good['quality_mean']:.2f}; bad "
          f"{chosen.count('bad')} times, learned {cells['bad']}; good has {share:.0%} of the second half")
    assert good["quality_mean"] < 0.5 and not cells["bad"]
    assert chosen.count("bad") > 100 and share < 0.6


asyncio.run(main())
PY
