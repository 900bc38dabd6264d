"""The composition root: a database, an economy and a clock become one object that holds every service."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, Self

from tallystick.config import Config
from tallystick.core.errors import ConfigurationError
from tallystick.core.ids import IdSource
from tallystick.ports import PaymentProvider
from tallystick.providers.simulated import SimulatedPayments
from tallystick.services.billing import Billing, HoldsView
from tallystick.services.budgets import Budgets
from tallystick.services.charges import Charges
from tallystick.services.clock import Clock, system_time
from tallystick.services.context import ActiveEconomy, Context
from tallystick.services.customers import Customers
from tallystick.services.due_work import DueWork
from tallystick.services.economies import Economies
from tallystick.services.explain import Explain
from tallystick.services.grants import Grants, Wallets
from tallystick.services.group_commit import GroupCommit
from tallystick.services.health import Health
from tallystick.services.holds import Holds
from tallystick.services.identity import Identity
from tallystick.services.keys import Keys
from tallystick.services.plans import Plans
from tallystick.services.pricing import Pricing
from tallystick.services.settlements import Settlements
from tallystick.services.simulated_controls import SimulatedControls
from tallystick.services.test_clock import TestClock
from tallystick.store import settings
from tallystick.store.engine import Database, migrate
from tallystick.store.ledger import Ledger

DEFAULT_PUBLIC_URL: Final = "http://127.0.0.1:8080"


class Tally:
    """An embedded Tallystick: ``Tally.open("sqlite:///tally.db", economy="starter")``."""

    def __init__(
        self,
        database: Database,
        *,
        economy: str,
        test_mode: bool,
        public_url: str,
        source: Callable[[], int],
        observe: Callable[[int, float], None],
        payment_provider: PaymentProvider | None = None,
        simulate_payments: bool = True,
    ) -> None:
        self.database = database
        self.clock = Clock(database, movable=test_mode, source=source)
        self.ids = IdSource(now=self.clock.now, node=database.transact(settings.next_node))
        active = ActiveEconomy()
        ledger = Ledger(driver=database.driver, new_id=self.ids.next, economy=active)
        commit = GroupCommit(database=database, ledger=ledger, now=self.clock.moment, observe=observe)
        self.context = Context(
            database=database,
            ledger=ledger,
            commit=commit,
            now=self.clock.now,
            new_id=self.ids.next,
            economy=active,
            public_url=public_url,
        )
        self.economies = Economies(self.context)
        self.economies.activate(economy)
        self.simulated_payments: SimulatedPayments | None = None
        if payment_provider is None and simulate_payments:
            payment_provider = self.simulated_payments = SimulatedPayments(
                database,
                now=self.clock.now,
                new_id=self.ids.next,
                random=secrets.token_bytes,
                public_url=public_url,
            )
        self.payment_provider = payment_provider
        self.simulated_controls = SimulatedControls(self.simulated_payments, test_mode=test_mode)
        steps = [] if self.simulated_payments is None else [self.simulated_payments.run_once]
        self.due_work = DueWork(self.context, steps=steps)
        self.test_clock = TestClock(self.context, self.clock, self.due_work, test_mode=test_mode)
        self.customers = Customers(self.context)
        self.identity = Identity(self.context, self.customers)
        self.keys = Keys(self.context, self.customers)
        self.budgets = Budgets(self.context, self.customers)
        pricing = Pricing(self.context, self.customers, self.economies)
        self.charges = Charges(self.context, pricing, self.customers)
        self.holds = Holds(self.context, pricing)
        self.holds_view = HoldsView(self.context, self.customers)
        self.billing = Billing(self.context, self.customers)
        self.explain = Explain(self.context, self.customers, self.economies)
        self.health = Health(self.context)
        self.grants = Grants(self.context, self.customers)
        self.plans = Plans(self.context, self.customers)
        self.wallets = Wallets(self.context, self.customers)
        self.settlements = Settlements(self.context, self.customers, pricing)

    @classmethod
    def open(
        cls,
        url: str = "sqlite:///tally.db",
        *,
        economy: str = "starter",
        test_mode: bool = True,
        public_url: str = DEFAULT_PUBLIC_URL,
        source: Callable[[], int] = system_time,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
        payment_provider: PaymentProvider | None = None,
        simulate_payments: bool = True,
    ) -> Tally:
        """Open a database, bring it to the newest schema, and activate an economy.

        ``source`` is the clock (microseconds since the epoch); ``observe`` is told of each batch its size and seconds.
        Without a ``payment_provider``, payments are simulated, unless it is said that they are not.
        """
        migrate(url)
        return cls(
            Database(url),
            economy=economy,
            test_mode=test_mode,
            public_url=public_url,
            source=source,
            observe=observe,
            payment_provider=payment_provider,
            simulate_payments=simulate_payments,
        )

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        public_url: str | None = None,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> Tally:
        """Open what the configuration names. ``public_url`` stands in where it names none.

        Raises ``ConfigurationError``, also when live mode would run with simulated payments or on a test clock.
        """
        config.check_live()
        tally = cls.open(
            config.database_url,
            economy=config.economy,
            test_mode=not config.is_live,
            public_url=config.public_url or public_url or DEFAULT_PUBLIC_URL,
            observe=observe,
            # INTEGRATOR: with a key, pass payment_provider=tallystick.providers.stripe.StripePayments(…)
            simulate_payments=config.stripe_secret_key is None,
        )
        if config.is_live and tally.clock.stored_offset():
            tally.close()
            raise ConfigurationError(
                "TALLY_MODE: expected test: this database was run on a test clock, which is ahead of the real time"
            )
        return tally

    def close(self) -> None:
        """Commit what is queued, then close the database."""
        self.context.commit.close()
        self.database.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close at the end of the block."""
        self.close()
