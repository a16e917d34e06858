"""An older copy of a service's database takes its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from orderflow.contracts.roster import row
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import orders_are_finished, orders_are_taken
from orderflow.drills.scene import Scene, Snapshot
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.clients import KafkaException, TopicPartition, consumer
from orderflow.messaging.kafka.reader import end_offsets

SERVICE = "inventory"
OLDER = f"{SERVICE}_older"
SERVER = "order"
"""In whose database the statements about another one are run."""
LOST = 50
"""So many orders are finished between the copy and the loss."""
RESYNC_WITHIN_S = 120.0
WITHIN_S = 120.0


class RestoredFromOldBackup(Incident):
    """
    The copy is as old as some orders. What it lacks is on Kafka: the group reads again from where
    it was when the copy was made, and its inbox knows what the copy has.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._refusal = ""
        self._committed: list[TopicPartition] = []

    def break_it(self) -> None:
        scene = self.scene
        scene.stop(SERVICE)
        self._committed = self._offsets()
        scene.sql(SERVER, f'CREATE DATABASE "{OLDER}" TEMPLATE "{SERVICE}"')
        scene.start(SERVICE)
        self._copied = Snapshot.of(scene)
        scene.wait_for(
            lambda: Snapshot.of(scene).finished >= self._copied.finished + LOST,
            within_s=WITHIN_S,
            what=f"{LOST} orders that the copy does not have",
        )

        scene.stop(SERVICE)
        scene.sql(
            SERVER,
            f'DROP DATABASE "{SERVICE}" WITH (FORCE)',
            f'ALTER DATABASE "{OLDER}" RENAME TO "{SERVICE}"',
        )
        self._restored = Snapshot.of(scene)
        try:
            scene.start(SERVICE)
        except OrderflowError as error:
            self._refusal = str(error)
            scene.stack.want(SERVICE, up=False)

    def heal(self) -> None:
        self.scene.stack.want(SERVICE, up=False)
        self._resync()
        self.scene.wait_for(self._read_again, within_s=WITHIN_S, what="the group's older offsets")
        self.scene.start(SERVICE)
        self._healed = Snapshot.of(self.scene)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the relay refuses, and names the way out",
                is_met=lambda: f"orderflow relay resync {SERVICE}" in self._refusal,
                within_s=1.0,
            ),
            orders_are_taken(self.scene, self._restored),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._healed, within_s=WITHIN_S),)

    def _resync(self) -> None:
        command = [sys.executable, "-m", "orderflow.cli.main", "relay", "resync", SERVICE, "--yes"]
        done = subprocess.run(
            command,
            env=self.scene.access.environment,
            capture_output=True,
            text=True,
            timeout=RESYNC_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise OrderflowError(f"`orderflow relay resync {SERVICE}`: {done.stderr.strip()}")

    def _offsets(self) -> list[TopicPartition]:
        """What the group has committed, with its metadata."""
        kafka = self.scene.access.kafka
        listened = row(SERVICE).listens_to
        places = [
            TopicPartition(topic.name, partition)
            for topic in listened
            for partition in end_offsets(kafka, topic.name)
        ]

        reader = consumer(kafka, row(SERVICE).group)
        try:
            answers = reader.committed(places, timeout=WITHIN_S)
        finally:
            reader.close()
        return [place for place in answers if place.offset >= 0]

    def _read_again(self) -> bool:
        """Whether the offsets of then are committed: not while a member is still in the group."""
        writer = consumer(self.scene.access.kafka, row(SERVICE).group)
        try:
            writer.commit(offsets=self._committed, asynchronous=False)
        except KafkaException:
            return False
        finally:
            writer.close()
        return True


DRILL = Drill(
    name="restored-from-old-backup",
    lab="a database is restored from an older backup",
    breaks=f"the database of {SERVICE} is replaced by a copy that lacks the last {LOST} orders",
    should="its relay refuses; after a resync the group reads again what the copy does not have",
    degrades="nothing is reserved until it is mended",
    goes_on="taking orders and charging them",
    runbook="restored-from-a-backup.md",
    incident=RestoredFromOldBackup,
    spoils=True,
    recovers_within_s=180.0,
)
