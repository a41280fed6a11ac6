"""MyWorld: find a thing and carry it to its place. Yours goes here; `rlsd check-env` checks the contract."""

from rlsd.envs import Hindsight, Task, TextEnv

ENV_ID = "my_world/MyWorld-v0"
THINGS = ("mug 1", "plate 1", "statue 1", "vase 1", "watch 1")
PLACES = ("armchair 1", "desk 1", "drawer 1", "shelf 1", "sidetable 1", "sofa 1")
SPLITS = {"train": (1, 2, 4, 5), "valid": (0,), "test": (3,)}
"""Which sixths of all (thing, where it lies, where it belongs) are the tasks of a split; no two splits share one."""


class MyWorld(TextEnv):
    """One thing lies somewhere; a place shows what lies there to whoever has gone to it."""

    blocking = False  # a step is pure and cheap: no thread, no time limit

    def __init__(self, split="train", max_steps=15):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
        super().__init__()
        self.max_steps = max_steps
        every = [(thing, lies, belongs) for thing in THINGS for lies in PLACES for belongs in PLACES if lies != belongs]
        self._all = {f"{'-'.join(x).replace(' 1', '')}": x for i, x in enumerate(every) if i % 6 in SPLITS[split]}
        fixed = {"env_id": ENV_ID, "split": split, "task_type": "carry"}
        self._tasks = [Task(task_id=task_id, seed=i, **fixed) for i, task_id in enumerate(self._all)]

    def tasks(self):  # in the same order on every machine
        return self._tasks

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.thing, self.lies, self.belongs = self._all[self.task.task_id]
        self.at, self.seen, self.steps, self.won = None, [], 0, False
        self.goal = f"put a {self.thing[:-2]} in {self.belongs[:-2]}."
        room = ", ".join(f"a {place}" for place in PLACES)
        return f"You are in the middle of a room. You see {room}.\nYour task is to: {self.goal}", self._info(valid=True)

    def step(self, action):
        self.steps += 1
        valid = action in self._commands()
        text = "Nothing happens."
        if valid and action.startswith("go to "):
            self.at = action.removeprefix("go to ")
            self.seen.append(self.at)
            shown = f"a {self.thing}" if self.lies == self.at else "nothing"
            text = f"You arrive at {self.at}. On the {self.at}, you see {shown}."
        elif valid and action.startswith("take "):
            self.lies, text = None, f"You pick up the {self.thing} from the {self.at}."
        elif valid:
            self.lies, text = self.at, f"You move the {self.thing} to the {self.at}."
        self.won = self.lies == self.belongs
        truncated = self.steps >= self.max_steps and not self.won  # it ends its episodes itself
        return text, float(self.won), self.won, truncated, self._info(valid)

    def hindsight(self):
        """What only the teacher may read, about the present state; never a part of an observation or of `info`."""
        plan = self._plan()
        where = () if self.lies is None else (f"the {self.thing} is at {self.lies}",)
        return Hindsight(plan=plan, whereabouts=where, distance=float(len(plan)))

    def expert(self, kind):
        """ "oracle" knows where the thing lies; "explorer" goes by what it saw. Warm starts imitate it."""
        unseen = [place for place in PLACES if place not in self.seen]
        if kind == "oracle" or self.lies is None or self.lies in self.seen:
            return (self._plan() or (self._commands()[0],))[0]
        return f"go to {unseen[0]}"

    def _plan(self):
        """The shortest way from here to the goal."""
        if self.won:
            return ()
        fetch = () if self.lies is None else (f"go to {self.lies}", f"take {self.thing} from {self.lies}")
        ways = (*fetch, f"go to {self.belongs}", f"move {self.thing} to {self.belongs}")
        return ways[1:] if ways[0] == f"go to {self.at}" else ways

    def _commands(self):
        commands = [f"go to {place}" for place in PLACES if place != self.at]
        if self.at is not None and self.lies == self.at:
            commands.append(f"take {self.thing} from {self.at}")
        if self.at is not None and self.lies is None:
            commands.append(f"move {self.thing} to {self.at}")
        return commands

    def _info(self, valid):  # everybody may read it, the student too
        return {
            "task_id": self.task.task_id,
            "task_type": self.task.task_type,
            "goal": self.goal,
            "admissible_actions": self._commands(),
            "valid_action": valid,
            "success": self.won,
            "score": float(self.won),
        }
