"""A larger environment: a garden, three kinds of task, layouts for testing that training lacks."""

from itertools import pairwise, permutations
from random import Random

from rlsd.envs import Hindsight, Task, TextEnv

PLANTS = ("aloe", "basil", "clover", "daisy", "fern", "iris", "lily", "mint", "poppy", "rose", "sage", "tulip")
LAYOUTS = Random(0).sample(list(permutations(PLANTS, 5)), 120)  # five of the plants, a bed each
BEDS = tuple(f"bed {i}" for i in range(1, 6))
GOALS = {"water": "water the {}.", "bring": "bring the {} to the porch.", "move": "plant the {} beside the {}."}
ENDS = {"water": "water {}", "bring": "give {}", "move": "plant {}"}  # the last action of each kind
SPLITS = {"train": (1, 2, 4, 5), "valid": (0,), "test": (3,)}  # sixths of the layouts; no two splits share one


class GardenEnv(TextEnv):
    blocking = False  # a step is pure and cheap: no thread, no time limit

    def __init__(self, split="train", max_steps=16):
        super().__init__()
        self.max_steps = max_steps
        beds = [layout for i, layout in enumerate(LAYOUTS) if i % 6 in SPLITS[split]]
        tasks = enumerate(f"{kind} {plant}: {' '.join(b)}" for b in beds for kind in GOALS for plant in b)
        self._tasks = [Task(env_id="Garden", task_id=t, task_type=t.split()[0], split=split, seed=i) for i, t in tasks]

    def tasks(self):
        return self._tasks

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task = self.pick_task(options)
        self.kind, self.x, *self.layout = self.task.task_id.replace(":", "").split()
        self.y = self.layout[self.layout.index(self.x) - 2]  # "move" wants x beside y
        self.last = ENDS[self.kind].format(self.x)
        self.where, self.looked = dict(zip(self.layout, BEDS, strict=True)), set()
        self.at, self.hand, self.steps, self.won = "porch", "nothing", 0, False
        return "A garden: shed, pond, porch, bed 1 to bed 5. In the shed are a can and a spade.", self._info(valid=True)

    def step(self, action):
        self.steps += 1
        valid, (verb, _, what) = action in self._commands(), action.partition(" ")
        if valid and verb == "go":
            self.at = what.removeprefix("to ")
        elif valid:
            self.hand = {"fill": "full can", "water": "can", "give": "nothing", "plant": "nothing"}.get(verb, what)
            self.where = {plant: bed for plant, bed in self.where.items() if action != f"dig {plant}"}
            self.where |= {what: self.at} if verb == "plant" else {}
        self.looked |= {self.at}
        self.won = valid and action == self.last and (self.kind != "move" or self.at == self.where[self.y])
        here = " and ".join(sorted(plant for plant, bed in self.where.items() if bed == self.at)) or "nothing"
        text = f"{self.at}: {here}. You hold {self.hand}." if valid else "You cannot do that."
        return text, float(self.won), self.won, self.steps >= self.max_steps and not self.won, self._info(valid)

    def hindsight(self):  # what only the teacher reads
        return Hindsight(plan=(plan := self._plan(self.where)), distance=float(len(plan)))

    def expert(self, kind):  # the explorer knows the beds it has looked at, and looks for other plants in the next one
        known = {plant: bed for plant, bed in self.where.items() if kind == "oracle" or bed in self.looked}
        return (self._plan(known) or (None,))[0]

    def _plan(self, known):
        unseen = next((bed for bed in BEDS if bed not in self.looked), BEDS[0])
        bed = {plant: known.get(plant, unseen) for plant in self.layout}
        hands = ("can", "full can") if self.kind == "water" else ("spade", self.x)
        first = [("shed", "take can"), ("pond", "fill can")], [("shed", "take spade"), (bed[self.x], f"dig {self.x}")]
        end = {"water": bed[self.x], "bring": "porch", "move": bed[self.y]}[self.kind], self.last
        done = hands.index(self.hand) + 1 if self.hand in hands else 0
        ways = [(self.at, ""), *[*first[self.kind != "water"], end][done:]]
        steps = [step for (at, _), (to, act) in pairwise(ways) for step in (f"go to {to}" * (to != at), act)]
        return () if self.won else tuple(filter(None, steps))

    def _commands(self):
        can = {"full can": [f"water {p}" for p, bed in self.where.items() if bed == self.at]}.get(self.hand, [])
        can += [f"dig {self.x}"] if (self.hand, self.where.get(self.x)) == ("spade", self.at) else []
        can += ["take can", "take spade"] if self.at == "shed" and self.hand != self.x else []
        can += ["fill can"] if (self.at, self.hand) == ("pond", "can") else []
        can += [f"plant {self.x}"] if self.at in BEDS and self.hand == self.x else []
        can += [self.last] if (self.at, self.hand, self.kind) == ("porch", self.x, "bring") else []
        return can + [f"go to {place}" for place in ("shed", "pond", "porch", *BEDS) if place != self.at]

    def _info(self, valid):
        now = {"admissible_actions": self._commands(), "valid_action": valid, "score": float(self.won)}
        goal = GOALS[self.kind].format(self.x, self.y)
        return {"task_id": self.task.task_id, "task_type": self.kind, "goal": goal, "success": self.won, **now}
