"""A notebook, run cell by cell in a kernel of its own process, and what its cells show.

Owns the kernel's start and end, away from the user's settings and kernels.  Must not
know what is installed where it runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Notebook"]

_KERNEL = "tested"


class Notebook:
    """A notebook and its kernel.

    Args:
        python: the interpreter that the kernel runs in.
        path: an empty directory, for what Jupyter writes.
        environment: the kernel's environment variables.
        pkg: what PKG stands for in the cells.

    Attributes:
        environment: the environment variables, with those that keep it to itself.
        pkg: what PKG stands for in the cells.
    """

    def __init__(
        self, python: str | Path, path: Path, environment: Mapping[str, str], pkg: str = "PKG"
    ) -> None:
        self.pkg = pkg
        own = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
        self.environment = {**environment, **dict.fromkeys(own, str(path))}
        self._path = path
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = path / "kernels" / _KERNEL
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": _KERNEL}))
        specs = KernelSpecManager(kernel_dirs=[str(spec.parent)])
        self._client = NotebookClient(
            nbformat.v4.new_notebook(),  # type: ignore[no-untyped-call]
            km=AsyncKernelManager(kernel_name=_KERNEL, kernel_spec_manager=specs),
            timeout=120,
            allow_errors=True,
        )

    def running(self) -> Any:
        """Start the kernel, and end it; a context manager."""
        return self._client.setup_kernel(cleanup_kc=True, env=self.environment, cwd=str(self._path))

    def outputs(self, source: str) -> list[Any]:
        """Run one cell and return its outputs."""
        cell: Any = nbformat.v4.new_code_cell(source.replace("PKG", self.pkg))  # type: ignore[no-untyped-call]
        cells = self._client.nb.cells
        cells.append(cell)
        self._client.execute_cell(cell, len(cells) - 1)
        outputs: list[Any] = []
        for one in cell.outputs:
            if outputs and "name" in one and one["name"] == outputs[-1].get("name"):
                outputs[-1].text += one.text  # a stream comes in pieces
            else:
                outputs.append(one)
        return outputs

    def run(self, source: str) -> str:
        """Run one cell that has to work and to have one output, and return that as text."""
        outputs = self.outputs(source)
        assert len(outputs) == 1, outputs
        output = outputs[0]
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output
        return str(output.get("text") or output["data"]["text/plain"]).strip()

    def quiet(self, source: str) -> None:
        """Run one cell that has to have no output."""
        assert self.outputs(source) == []

    def refused(self, source: str) -> str:
        """Run one cell that is a wrong usage of a magic, and return what it says."""
        outputs = self.outputs(source)
        assert [one.get("name") for one in outputs] == ["stderr"], outputs
        return str(outputs[0].text)
