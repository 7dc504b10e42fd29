"""Exceptions out of what the user gives to a fit: it ends with them, after whole steps."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import staticflow as sf
from tests.support.small_nets import assert_same, data, regression, values

ROWS, BATCH, EPOCHS = 96, 16, 6
Feeds = dict[str, Any]


class Wrong(Exception):
    """What the user's function raises."""


class Exceptions:
    """A callback, an iterator of batches, or validation raises at some moment."""

    def __init__(self) -> None:
        self.fed = data(ROWS)
        self.session = regression(sf.optim.Adam(1e-2), threads=2)
        self.session.fit(self.fed, batch_size=BATCH, progress=False)

    def __call__(self, draw: random.Random) -> None:
        draw.choice((self.callback, self.iterator, self.validation))(draw)

    def _raises(self, session: sf.Session, *arguments: Any, **options: Any) -> None:
        error = Wrong()
        moment, found = options.pop("fault"), None
        moment(error, options)
        try:
            session.fit(*arguments, progress=False, **options)
        except Wrong as caught:
            found = caught
        assert found is error

    def callback(self, draw: random.Random) -> None:
        """After a whole epoch."""
        session, twin = copy.deepcopy(self.session), copy.deepcopy(self.session)
        last = draw.randint(1, EPOCHS)

        def fault(error: Wrong, options: Feeds) -> None:
            def call(session: sf.Session, log: dict[str, float]) -> None:
                if session.epoch_count == last + 1:
                    raise error

            options["callbacks"] = call

        self._raises(session, self.fed, epochs=EPOCHS, batch_size=BATCH, fault=fault)
        self._goes_on(session, twin, last)

    def validation(self, draw: random.Random) -> None:
        """After the epoch's steps, which count."""
        session, twin = copy.deepcopy(self.session), copy.deepcopy(self.session)
        last, calls = draw.randint(1, EPOCHS), []

        def fault(error: Wrong, options: Feeds) -> None:
            def batches() -> Iterator[Feeds]:
                calls.append(None)
                yield self.fed
                if len(calls) == last:
                    raise error

            options["validation_data"] = batches

        self._raises(session, self.fed, epochs=EPOCHS, batch_size=BATCH, fault=fault)
        self._goes_on(session, twin, last)

    def _goes_on(self, session: sf.Session, twin: sf.Session, epochs: int) -> None:
        """As the twin after so many epochs, now and after another fit."""
        twin.fit(self.fed, epochs=epochs, batch_size=BATCH, progress=False)
        assert session.epoch_count == twin.epoch_count
        assert_same(values(session), values(twin))
        for each in (session, twin):
            each.fit(self.fed, batch_size=BATCH, progress=False)
        assert_same(values(session), values(twin))

    def iterator(self, draw: random.Random) -> None:
        """After the batches that came before."""
        session, twin = copy.deepcopy(self.session), copy.deepcopy(self.session)
        last = draw.randrange(ROWS // BATCH)
        feeds = [
            {name: array[k : k + BATCH] for name, array in self.fed.items()}
            for k in range(0, ROWS, BATCH)
        ]

        def broken(error: Wrong) -> Callable[[], Iterator[Feeds]]:
            def batches() -> Iterator[Feeds]:
                yield from feeds[:last]
                raise error

            return batches

        error = Wrong()
        try:
            session.fit(broken(error), progress=False)
            raise AssertionError("the iterator's exception is lost")
        except Wrong as caught:
            assert caught is error
        for batch in feeds[:last]:
            twin.step(batch)
        assert_same(values(session), values(twin))
        assert session.step(feeds[0]) == twin.step(feeds[0])
