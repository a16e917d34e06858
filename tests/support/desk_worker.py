"""
`python -m tests.support.desk_worker replay|discard`: the desk in a process of its own, in small
transactions.
"""

from __future__ import annotations

import os
import sys

from tests.support.dead_letters import EXIT_FENCED

from orderflow.messaging.dead_letters import desk_session
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.letters import ANY
from orderflow.messaging.errors import Fenced
from orderflow.messaging.settings import KafkaSettings


def main() -> int:
    desk_session.LETTERS_MAX = int(os.environ["DESK_BATCH"])
    topic = os.environ["DESK_TOPIC"]
    desk = Desk(
        KafkaSettings(bootstrap_servers=os.environ["DESK_BROKER"]),
        {os.environ["DESK_GROUP"]: (topic,)},
        f"{topic}-dispositions",
    )
    act = desk.discard if sys.argv[1] == "discard" else desk.replay

    try:
        report = act(ANY, by="a worker", reason="mended")
    except Fenced as error:
        sys.stdout.write(f"{error}\n")
        return EXIT_FENCED
    sys.stdout.write(f"{report}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
