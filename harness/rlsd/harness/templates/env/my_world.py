"""MyWorld: a lamp with a dial. Put your own world here and keep the contract, which `rlsd check-env` checks."""

from rlsd.envs import Hindsight, Task, TextEnv

ENV_ID = "my_world/MyWorld-v0"
MARKS = range(1, 14)
SPLITS = {"train": (1, 2, 4, 5), "valid": (0,), "test": (3,)}
"""Which sixths of all pairs (first mark, mark that lights the lamp) belong to a split; no two splits share one."""


class MyWorld(TextEnv):
    """Find the mark at which the lamp is lit and press the button there; every turn makes it brighter or dimmer."""

    blocking = False  # a step is pure and cheap: no thread, no time limit

    def __init__(self, split="train", max_steps=24):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
        super().__init__()
        self.max_steps = max_steps
        pairs = [(start, lit) for start in MARKS for lit in MARKS if start != lit]
        self._pairs = {
            f"dial-{start}-{lit}": (start, lit) for i, (start, lit) in enumerate(pairs) if i % 6 in SPLITS[split]
        }
        self._tasks = [
            Task(env_id=ENV_ID, task_id=task_id, split=split, task_type="lamp", seed=i)
            for i, task_id in enumerate(self._pairs)
        ]

    def tasks(self):  # in the same order on every machine
        return self._tasks

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.dial, self.lit = self._pairs[self.task.task_id]
        self.steps, self.won, self.way, self.trend = 0, False, 0, "dim"
        return f"There is a lamp with a button and a dial. {self._view()}", self._info(valid=True)

    def step(self, action):
        self.steps += 1
        valid, before = action in self._commands(), self._far()
        text = "The lamp has no such part."
        if valid and action == "press":
            self.won = before == 0
            text = "The room is light." if self.won else "The button clicks, and the room stays dark."
        elif valid:
            self.way = 1 if action == "turn up" else -1
            self.dial += self.way
            self.trend = "brighter" if self._far() < before else "dimmer"
            text = self._view()
        truncated = self.steps >= self.max_steps and not self.won  # it ends its episodes itself
        return text, float(self.won), self.won, truncated, self._info(valid)

    def hindsight(self):
        """What only the teacher may read, about the present state; never a part of an observation or of `info`."""
        plan = self._plan()
        missing = () if self.won else (f"the dial is at {self.lit}", "the button is pressed")
        return Hindsight(plan=plan, missing=missing[self._far() == 0 :], distance=float(len(plan)))

    def expert(self, kind):
        """ "oracle" knows the mark; "explorer" goes by what it saw. Warm starts imitate it."""
        if self.won or kind == "oracle" or self._far() == 0:
            return (self._plan() or ("press",))[0]
        way = -self.way if self.trend == "dimmer" else self.way or 1
        return "turn up" if (way > 0 or self.dial == MARKS[0]) and self.dial < MARKS[-1] else "turn down"

    def _far(self):
        return abs(self.lit - self.dial)

    def _plan(self):
        turn = "turn up" if self.lit > self.dial else "turn down"
        return () if self.won else (turn,) * self._far() + ("press",)

    def _view(self):
        shown = "lit" if self._far() == 0 else self.trend
        return f"The dial is at {self.dial} of {MARKS[-1]}. The lamp is {shown}."

    def _commands(self):
        up, down = self.dial < MARKS[-1], self.dial > MARKS[0]
        return ["press", *(["turn down"] if down else []), *(["turn up"] if up else [])]

    def _info(self, valid):  # everybody may read it, the student too
        return {
            "task_id": self.task.task_id,
            "task_type": self.task.task_type,
            "goal": "find the mark that lights the lamp and press the button there.",
            "admissible_actions": self._commands(),
            "valid_action": valid,
            "success": self.won,
            "score": float(self.won),
        }
