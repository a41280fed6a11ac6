"""A whole environment: a coin lies under one of three cups. Play it: rlsd play examples/coin_env.py:CoinEnv"""

from rlsd.envs import Hindsight, Task, TextEnv

CUPS = ("red", "green", "blue")


class CoinEnv(TextEnv):
    blocking = False  # a step is pure and cheap: no thread, no time limit

    def __init__(self, split="train", max_steps=3):
        super().__init__()
        self.max_steps = max_steps
        tables = {"train": range(30), "valid": range(42, 54), "test": range(30, 42)}[split]
        self._tasks = [Task(env_id="Coin", task_id=f"table-{i}", split=split, task_type="coin", seed=i) for i in tables]

    def tasks(self):
        return self._tasks

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.cup, self.steps, self.won = CUPS[self.task.seed % 3], 0, False
        return "A red, a green and a blue cup. A coin lies under one of them.", self._info(valid=True)

    def step(self, action):
        self.steps += 1
        self.won = action == f"lift {self.cup}"
        valid = action in [f"lift {cup}" for cup in CUPS]
        text = "The coin!" if self.won else "Nothing there." if valid else "There is no such cup."
        truncated = self.steps >= self.max_steps and not self.won
        return text, float(self.won), self.won, truncated, self._info(valid)

    def hindsight(self):  # what only the teacher reads
        return Hindsight(plan=() if self.won else (f"lift {self.cup}",), distance=float(not self.won))

    def _info(self, valid):
        info = {"task_id": self.task.task_id, "task_type": "coin", "goal": "find the coin.", "valid_action": valid}
        commands = [f"lift {cup}" for cup in CUPS]
        return {**info, "admissible_actions": commands, "success": self.won, "score": float(self.won)}
