"""`rlsd profile`: the profiles that ship, one in full, and those of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.harness.cli.options import ArgOption, env_arguments
from rlsd.harness.cli.tables import print_table, print_text

profile = typer.Typer(help="How an agent is prompted, sampled and read, as one file.", no_args_is_help=True)


@profile.command("list")
def list_profiles() -> None:
    """The profiles that ship with rlsd: what they are, and their digests."""
    from rlsd.harness.config import of_profile
    from rlsd.harness.config.profile import shipped, summary

    rows = [["profile", "format", "memory", "digest", "what it is"]]
    for name, path in shipped().items():
        agent = of_profile(name)
        rows.append([name, agent.format, agent.memory, agent.digest(), summary(path)])
    print_table("profiles", rows)


@profile.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name, a YAML file, or a folder of weights.")],
    env: Annotated[str | None, typer.Option(help="Also print what the model reads first there.")] = None,
    arg: ArgOption = None,
) -> None:
    """A profile's settings and digest."""
    from rlsd.harness.config import of_profile
    from rlsd.harness.config.yaml_text import write_yaml
    from rlsd.harness.evals.first_prompt import first_prompt

    agent = of_profile(name)
    settings = agent.model_dump(mode="json", exclude_defaults=True)
    print_text(f"# digest {agent.digest()}\n{write_yaml(settings)}".rstrip())
    if env is not None:
        print_text(f"\n{first_prompt(agent, env, env_arguments(arg))}")


@profile.command("import")
def import_(
    family: Annotated[str, typer.Argument(help="verl-agent (also for SDAR, SkillRL …), agentgym or search-r1.")],
    path: Annotated[Path, typer.Argument(help="Your checkout of it. Its files are read, and not run.")],
    out_: Annotated[Path, typer.Option("--out", help="The profile file; of several environments one each.")],
    env: Annotated[str | None, typer.Option(help="alfworld, webshop or search; default: all that are there.")] = None,
    history_turns: Annotated[int | None, typer.Option(help="Instead of what its scripts say.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="A response format of your own, for a checkout that reads otherwise.")
    ] = None,
) -> None:
    """Write the prompts of another project's agents as profiles, read out of your own checkout."""
    from rlsd.harness.importing.families import import_profiles, write_profiles

    profiles = import_profiles(family, path, env=env, history_turns=history_turns, format=format_)
    for file, agent in write_profiles(profiles, out_, about=f"Imported from {path.resolve().name} ({family})").items():
        print_text(f"{file}: {agent.name}, for {', '.join(agent.envs)}, digest {agent.digest()}")
