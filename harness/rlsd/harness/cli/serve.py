"""`rlsd serve …`. A further server is one more command in `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsd.envs.errors import closest
from rlsd.harness.cli.index import ENGINES, DeviceOption
from rlsd.harness.cli.options import ArgOption, EnvArgument, env_arguments
from rlsd.harness.serve.guard import LOOPBACK, App, Limits
from rlsd.harness.serve.listener import Listener, check_bind

serve = typer.Typer(help="Environments over HTTP, on this machine alone unless a token is set.", no_args_is_help=True)

HostOption = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")]
PortOption = Annotated[int, typer.Option(help="0 takes a free one and prints it.")]
TokenOption = Annotated[str | None, typer.Option(envvar="RLSD_TOKEN", help="Secret that clients must send.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds a request may take.")]


def launch(
    app: App,
    *,
    what: str,
    host: str = LOOPBACK,
    port: int,
    token: str | None,
    limits: Limits,
    sockets: bool = False,
) -> None:
    """Serve an application behind the guard until interrupted; prints the address first.

    Raises:
        ServeError: the address is refused or taken, or the extra `serve` is missing.
    """
    listener = Listener(app, host=host, port=port, token=token, limits=limits, sockets=sockets)
    print(f"{what} on {listener.url}" + (" (token needed)" if token else ""), flush=True)
    listener.run()


@serve.command("search")
def serve_search(
    corpus: Annotated[
        str, typer.Argument(help="A folder made by `rlsd index build`, a corpus file, or gen-default/test.")
    ],
    host: HostOption = LOOPBACK,
    port: PortOption = 8000,
    token: TokenOption = None,
    topk: Annotated[int, typer.Option(help="Passages where a request does not say.")] = 3,
    timeout_s: TimeoutOption = 30.0,
    max_requests: Annotated[int, typer.Option(help="Requests at work at once.")] = 512,
    device: DeviceOption = "cpu",
    encoder: Annotated[str | None, typer.Option(help="Where the index's encoder lies now, if it moved.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"Another than the index's own: {ENGINES}.")] = None,
    verify: Annotated[bool, typer.Option(help="Compare every checksum, of large files too.")] = False,
) -> None:
    """Serve a corpus as Search-R1's /retrieve does; corpus=http://… plays against it."""
    from rlsd.harness.cli.index import open_served
    from rlsd.harness.serve.search import SearchLimits, search_app

    check_bind(host, token)  # before anything slow
    retriever = open_served(corpus, device=device, encoder=encoder, engine=engine, verify=verify or None)
    launch(
        search_app(retriever, SearchLimits(topk=topk)),
        what=f"{len(retriever.passages):,} paragraphs of {corpus}: POST /retrieve",
        host=host,
        port=port,
        token=token,
        limits=Limits(request_s=timeout_s, max_requests=max_requests),
    )


@serve.command("shop")
def serve_shop(
    catalogue: Annotated[str, typer.Argument(help="gen-default, gen-tiny, real, a file or a folder.")] = "gen-default",
    split: Annotated[str, typer.Option(help="Whose goals are offered.")] = "valid",
    max_steps: Annotated[int, typer.Option(help="Steps an order may take.")] = 50,
    record: Annotated[
        Path, typer.Option(help="Every session goes here, one trajectory a line; .gz compresses.")
    ] = Path("runs/shop/sessions.jsonl"),
    host: HostOption = LOOPBACK,
    port: PortOption = 8080,
    token: TokenOption = None,
    timeout_s: TimeoutOption = 30.0,
) -> None:
    """Serve WebShop as web pages: play a goal in a browser and see the reward with its parts."""
    from rlsd.harness.serve.shop import shop_app

    check_bind(host, token)  # before anything slow
    limits = Limits(request_s=timeout_s)
    kwargs = {"catalogue": catalogue, "split": split, "max_steps": max_steps}
    app = shop_app(kwargs, record=record, limits=limits)
    launch(app, what=f"the shop {catalogue}", host=host, port=port, token=token, limits=limits)


@serve.command("env")
def serve_env(
    spec: EnvArgument,
    arg: ArgOption = None,
    workers: Annotated[int, typer.Option(help="Processes the environments run in; 0: this one.")] = 0,
    host: HostOption = LOOPBACK,
    port: PortOption = 8017,
    token: TokenOption = None,
    max_sessions: Annotated[int, typer.Option(help="Environments that may be open at once.")] = 1024,
    step_timeout_s: Annotated[float, typer.Option(help="Longest time of one call.")] = 60.0,
    protocol: Annotated[
        str, typer.Option(help="rlsd: for rlsd itself; openenv: for OpenEnv's clients and trainers that use them.")
    ] = "rlsd",
) -> None:
    """Any environment over HTTP. Clients use the address as the environment's id."""
    from rlsd.harness.serve.env import env_app, opener
    from rlsd.harness.serve.guard import ServeError
    from rlsd.harness.serve.openenv import openenv_app

    if protocol not in ("rlsd", "openenv"):
        raise ServeError(f"unknown protocol {protocol!r}{closest(protocol, ('openenv', 'rlsd'))}")
    limits = Limits(max_sessions=max_sessions, request_s=step_timeout_s)
    open_one, sockets = opener(spec, env_arguments(arg), workers=workers), protocol == "openenv"
    app = openenv_app(open_one, limits, name=spec) if sockets else env_app(open_one, limits)
    launch(app, what=spec, host=host, port=port, token=token, limits=limits, sockets=sockets)


@serve.command("policy")
def serve_policy(
    folder: Annotated[Path, typer.Argument(help="A transformers model folder.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a key in VLLM_API_KEY.")
    ] = LOOPBACK,
    port: PortOption = 8000,
    lora: Annotated[bool, typer.Option(help="Take LoRA adapters (model.lora).")] = False,
    sleep: Annotated[
        bool, typer.Option("--sleep", help="Share a GPU with the learner: be able to sleep (sampler.sleep).")
    ] = False,
    transfer: Annotated[
        str | None, typer.Option(help="Receive weights as tensors: nccl or gloo (sampler.weights).")
    ] = None,
    python: Annotated[str | None, typer.Option(help="The Python that has vLLM; default: this one.")] = None,
    show: Annotated[bool, typer.Option(help="Print the command and do nothing.")] = False,
    more: Annotated[list[str] | None, typer.Argument(help="Further options of vLLM, after --.")] = None,
) -> None:
    """A vLLM server for `sampler.backend: vllm`, with the routes that training needs."""
    from rlsd.harness.serve.policy import free_port, policy_command, run_policy

    if not show and port == 0:
        port = free_port(host, 0)
        print(f"{folder} on http://{host}:{port}", flush=True)
    command = policy_command(
        folder,
        host=host,
        port=port,
        lora=lora,
        sleep=sleep,
        transfer=transfer,
        python=python,
        more=tuple(more or ()),
    )
    if show:
        print(command.shown())
        return
    free_port(host, port)
    run_policy(command)
