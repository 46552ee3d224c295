"""`sixfold run`: functions, or one service, as one process. The supervisor starts every child of the system with it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sixfold import capability, catalogue
from sixfold import errors as failures
from sixfold.capability import Service
from sixfold.cli import common, references, reloading
from sixfold.function import AnyFunction, Retry
from sixfold.process import Process
from sixfold.supervisor import hosting, plan


def run(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Functions, one service with its options, MODULE:ATTRIBUTE, or a file.", show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All functions of all capabilities and of --app.")] = False,
    bus: Annotated[
        str | None, typer.Option("--bus", help="embedded: or kafka://HOST:PORT; as the global option.")
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option("--lambda", help="A handler(event, context) of AWS Lambda, unchanged: path/to/app.py:handler."),
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Topic that --lambda is given the records of. Repeatable.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Records of one call of --lambda at most.")] = 100,
    batch_window: Annotated[
        float, typer.Option("--batch-window", help="Seconds that --lambda's batches gather for at most.")
    ] = 0.5,
    attempts: Annotated[int, typer.Option("--attempts", help="Calls of --lambda until a batch is set aside.")] = 10,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that a call of --lambda may take.")] = 60.0,
    name: Annotated[
        str | None, typer.Option("--name", help="Name and consumer group of --lambda.", show_default="FILE.HANDLER")
    ] = None,
    report_failures: Annotated[
        bool, typer.Option(help="Whether --lambda's answer names what failed, as with ReportBatchItemFailures.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=256, help="Processes of this host that share the work.")
    ] = None,
    member_prefix: Annotated[
        str | None,
        typer.Option(
            "--member-prefix", help="Begins the workers' names, which their groups know them by.", show_default="host"
        ),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a source file of yours changes.")] = False,
) -> None:
    """Run functions, or one service, as one process until Ctrl-C or SIGTERM; what is under way is finished first.

    Example:  sixfold run examples/01-minimal/orders.py      sixfold run volume.storage --copy a1
    sixfold run --lambda path/to/app.py:handler --topic orders --batch-size 100
    sixfold run --workers 4 examples/01-minimal/orders.py
    """
    wanted, options = split_options(names or [])
    if reload:
        watch = reloading.Watch(reloading.roots_of([*wanted, *([handler] if handler else [])]))
        words = [word for word in sys.argv[1:] if word != "--reload"]
        raise typer.Exit(common.run(reloading.run([sys.executable, "-m", "sixfold", *words], watch)))
    chosen = common.settings(ctx)
    known = common.known(ctx)
    bus_url = bus or chosen.bus_url
    services = {**known.services, plan.GATEWAY.name: plan.GATEWAY}
    found = [name for name in wanted if name in services]
    if found:
        if len(wanted) > 1 or every or workers or member_prefix:
            raise _usage(f"{found[0]} is a service and runs alone; start the others with calls of their own")
        common.run(hosting.host(_service(services[found[0]], options, known, chosen, bus_url)))
        return
    if options:
        raise _usage(f"there is no option --{next(iter(options))}; only services take options of their own")
    functions = _functions(wanted, every=every, known=known) if wanted or every or handler is None else ()
    if handler is not None:
        if not topic:
            raise _usage("--lambda needs --topic; name the topics whose records it is given")
        from sixfold.lambdas import declaring

        made = declaring.lambda_function(
            references.value_of(handler),
            topics=topic,
            name=name,
            batch=dataclasses.replace(declaring.BATCH, size=batch_size, window_s=batch_window),
            retry=Retry(attempts_max=attempts),
            timeout_s=timeout,
            report_failures=report_failures,
        )
        functions = (*functions, made)
    if workers or member_prefix:
        from sixfold.cli import workers as several

        words = several.words_without(sys.argv[1:], "--workers", "--member-prefix")
        members = several.names_of(plan.FUNCTIONS if every else _joined(functions), workers or 1, member_prefix)
        common.run(several.run([sys.executable, "-m", "sixfold", *words], members, chosen.data_dir))
        return
    common.run(hosting.host(_worker(functions, chosen, bus_url, every=every)))


run.passes_options_on = True  # type: ignore[attr-defined]


def split_options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names, and the `--option value` or `--option=value` pairs among them. Raises UsageError for one without value."""
    names: list[str] = []
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            names.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise _usage(f"option {word} needs a value")
            value = rest.pop(0)
        options[name] = value
    return names, options


def _usage(message: str) -> failures.UsageError:
    return failures.UsageError(f"{message}; see `sixfold run --help`")


def _service(
    service: Service, options: dict[str, str], known: catalogue.Catalogue, chosen: common.Settings, bus_url: str
) -> hosting.Hosted:
    takes = (*service.options, *service.settings)
    unknown = [name for name in options if name not in takes]
    if unknown:
        known_options = ", ".join(f"--{name}" for name in takes) or "no options"
        raise _usage(f"{service.name} has no option --{unknown[0]}; it takes {known_options}")
    run_service = capability.resolve(service.run)
    if service is plan.GATEWAY:
        run_service = functools.partial(run_service, functions=known.own)
    return hosting.Hosted(
        name=plan.instance_name(service, options),
        data_dir=chosen.data_dir,
        registry=known.light.registry,
        run=run_service,
        bus_url=bus_url if service.bus else None,
        options=options,
        topics=known.topics_to_make,
    )


def _functions(wanted: Sequence[str], *, every: bool, known: catalogue.Catalogue) -> tuple[AnyFunction, ...]:
    if every:
        if wanted:
            raise _usage("--all runs every function; leave the names away")
        return tuple(known.functions.values())
    if not wanted:
        raise _usage("name what to run: functions (`sixfold functions` lists them), a service, or your own file")
    found: dict[str, AnyFunction] = {}
    for name in wanted:
        chosen = references.functions_in(name) if references.is_reference(name) else (_named(name, known),)
        for function in chosen:
            if found.setdefault(function.name, function) is not function:
                raise _usage(f"two functions are named {function.name!r}; give one another name=")
    return tuple(found.values())


def _named(name: str, known: catalogue.Catalogue) -> AnyFunction:
    if name in known.functions:
        return known.functions[name]
    raise catalogue.unknown(
        "function or service",
        name,
        [*known.functions, *known.services, plan.GATEWAY.name],
        "`sixfold functions` lists functions; your own are named MODULE:ATTRIBUTE or path/to/file.py",
    )


def _worker(
    functions: tuple[AnyFunction, ...], chosen: common.Settings, bus_url: str, *, every: bool
) -> hosting.Hosted:
    theirs = catalogue.installed([function for function in functions if not _is_installed(function)])
    return hosting.Hosted(
        name=plan.FUNCTIONS if every else "run." + _joined(functions),
        data_dir=chosen.data_dir,
        registry=theirs.registry,
        run=functools.partial(_work, functions, theirs, every=every),
        bus_url=bus_url,
        alone=False,
    )


def _joined(functions: Sequence[AnyFunction]) -> str:
    return "+".join(function.name for function in functions)[:64]


def _is_installed(function: AnyFunction) -> bool:
    return catalogue.installed().functions.get(function.name) is function


async def _work(
    functions: tuple[AnyFunction, ...], theirs: catalogue.Catalogue, process: Process, *, every: bool
) -> None:
    from sixfold import running
    from sixfold.lambdas import LambdaFunction, asynchronous
    from sixfold.lambdas.mapped import Mapped
    from sixfold.registry.schemas import open_schemas

    invocable = {each.name: each for each in functions if isinstance(each, LambdaFunction)}
    if every:
        functions = (*functions, asynchronous.invoker(functions))
    functions = tuple(each for each in functions if each.topics or each.topic_patterns)  # others are only invoked
    topics = theirs.topics_for(functions)
    schemas = await process.resources.get(open_schemas)
    await schemas.announce(cls for function in functions for cls in function.emits)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                running.run_functions(process, functions, stopping=process.stopping, topics=topics, ready=process.ready)
            )
            if every:
                group.create_task(Mapped(process, invocable).run(process.stopping))
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
