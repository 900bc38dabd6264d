"""The composition root: a database, an economy and a clock become one object that holds every service."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from threading import Event
from typing import Final, Self

from tallystick.config import Config, Outgoing
from tallystick.core.errors import ConfigurationError
from tallystick.core.ids import IdSource
from tallystick.core.times import DAY
from tallystick.ports.payments import PaymentProvider
from tallystick.ports.sandboxes import SandboxProvider
from tallystick.providers.finding import find_sandboxes
from tallystick.providers.mail import SmtpMailer
from tallystick.providers.simulated import SimulatedPayments
from tallystick.providers.stripe import StripePayments
from tallystick.providers.webhooks import WebhookSender
from tallystick.services.agents import Agents
from tallystick.services.billing import Billing, HoldsView
from tallystick.services.budgets import Budgets
from tallystick.services.charges import Charges
from tallystick.services.checkouts import Checkouts
from tallystick.services.clock import Clock, system_time
from tallystick.services.connected_apps import ConnectedApps
from tallystick.services.context import ActiveEconomy, Context
from tallystick.services.customers import Customers
from tallystick.services.delivery import Delivery
from tallystick.services.due_work import DueWork
from tallystick.services.economies import Economies
from tallystick.services.endpoints import Endpoints
from tallystick.services.explain import Explain
from tallystick.services.exports import Exports
from tallystick.services.fulfilment import Fulfilment
from tallystick.services.grants import Grants, Wallets
from tallystick.services.group_commit import GroupCommit
from tallystick.services.health import Health
from tallystick.services.holds import Holds
from tallystick.services.identity import Identity
from tallystick.services.keys import Keys, new_secret
from tallystick.services.movements import Movements
from tallystick.services.notifications import Notifications
from tallystick.services.oauth import OAuth
from tallystick.services.once import Once
from tallystick.services.operator_actions import OperatorActions
from tallystick.services.operator_desk import OperatorDesk
from tallystick.services.operators import Operators
from tallystick.services.payment_refunds import PaymentRefunds
from tallystick.services.payment_work import PaymentWork
from tallystick.services.payouts import Payouts
from tallystick.services.plans import Plans
from tallystick.services.pricing import Pricing
from tallystick.services.provider_events import ProviderEvents
from tallystick.services.reconciler import Reconciler
from tallystick.services.refills import Refills
from tallystick.services.rewards import Rewards
from tallystick.services.sandbox_bills import SandboxBills
from tallystick.services.sandbox_host import SandboxHost
from tallystick.services.sandbox_keeper import SandboxKeeper
from tallystick.services.sandbox_runs import SandboxRuns
from tallystick.services.sandbox_steps import SandboxSteps
from tallystick.services.sandbox_views import SandboxViews
from tallystick.services.sandboxes import Sandboxes
from tallystick.services.settlements import Settlements
from tallystick.services.simulated_controls import SimulatedControls
from tallystick.services.subscription_looks import SubscriptionLooks
from tallystick.services.subscriptions import Subscriptions
from tallystick.services.tasks import Tasks
from tallystick.services.test_clock import TestClock
from tallystick.services.watch import BalanceWatch
from tallystick.services.work import Work, run_all
from tallystick.store import settings
from tallystick.store.engine import Database, migrate
from tallystick.store.ledger import Ledger

DEFAULT_PUBLIC_URL: Final = "http://127.0.0.1:8080"
NO_SANDBOXES: Final = "this server runs no sandboxes"


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
        prices: Mapping[str, str] | None = None,
        outgoing: Outgoing | None = None,
        sandbox_provider: SandboxProvider | None = None,
    ) -> None:
        self.database = database
        self.clock = Clock(database, movable=test_mode, source=source)
        self.ids = IdSource(now=self.clock.now, node=database.transact(settings.next_node))
        active = ActiveEconomy()
        ledger = Ledger(driver=database.driver, new_id=self.ids.next, economy=active)
        # Set when a batch left something for the worker, so that a worker of this process need not find it by itself.
        self.wake = Event()
        commit = GroupCommit(
            database=database, ledger=ledger, now=self.clock.moment, observe=observe, alerted=self.wake.set
        )
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
        if payment_provider is None:
            payment_provider = self.simulated_payments = SimulatedPayments(
                database,
                now=self.clock.now,
                new_id=self.ids.next,
                random=secrets.token_bytes,
                public_url=public_url,
            )
        self.payment_provider: PaymentProvider = payment_provider
        self.simulated_controls = SimulatedControls(self.simulated_payments, test_mode=test_mode)
        self.watch = BalanceWatch(self.context, self.economies)
        self.customers = Customers(self.context)
        self.plans = Plans(self.context, self.customers)
        self._open_payments(prices or {})
        self._open_notifications(outgoing or Outgoing(), test_mode=test_mode)
        pricing = Pricing(self.context, self.customers, self.economies)
        self.agents = Agents(self.context, self.customers)
        self.payouts = Payouts(self.context)
        self.tasks = Tasks(self.context, self.customers, pricing, self.agents)
        self.due_work = DueWork(self.context, self.watch, self.tasks)
        self.works: list[Work] = [self.due_work, PaymentWork(self._payment_steps()), self.delivery]
        self.test_clock = TestClock(
            self.context,
            self.clock,
            self.works,
            test_mode=test_mode,
            simulated=self.simulated_payments is not None,
        )
        self.identity = Identity(self.context, self.customers)
        self.keys = Keys(self.context, self.customers)
        self.oauth = OAuth(self.context)
        self.once = Once(self.context)
        self.connected_apps = ConnectedApps(self.context)
        self.budgets = Budgets(self.context, self.customers)
        self.charges = Charges(self.context, pricing, self.customers)
        self.holds = Holds(self.context, pricing)
        self.holds_view = HoldsView(self.context, self.customers)
        self.billing = Billing(self.context, self.customers)
        self.exports = Exports(self.context, self.customers)
        self.explain = Explain(self.context, self.customers, self.economies)
        self.movements = Movements(self.context, self.customers)
        self.health = Health(self.context)
        self.grants = Grants(self.context, self.customers)
        self.rewards = Rewards(self.context, self.customers, self.grants, self.billing)
        self.wallets = Wallets(self.context, self.customers)
        self.settlements = Settlements(self.context, self.customers, pricing)
        self._open_operators()
        self._open_sandboxes(pricing)
        if sandbox_provider is not None:
            self.use_sandboxes(sandbox_provider)

    def use_sandboxes(self, provider: SandboxProvider | None, missing: str = NO_SANDBOXES) -> None:
        """Have sandboxes run by this provider; with None, ``missing`` says why there are none. Before any worker starts.

        The keeper works in either case: what an earlier process left behind is closed.
        """
        self._sandbox_host.use(provider, missing=missing)
        if provider is not None:
            self.sandbox_keeper.appear()
        self.works.append(self.sandbox_keeper)

    @property
    def installation(self) -> str:
        """What tells this database from all others."""
        return self.database.transact(
            lambda connection: settings.put_once(connection, "installation", secrets.token_hex(8))
        )

    def _open_sandboxes(self, pricing: Pricing) -> None:
        """Sandboxes, and the keeper of those that this process makes."""
        self._sandbox_host = host = SandboxHost(
            process_id=secrets.token_hex(8), ahead=self.clock.ahead, missing=NO_SANDBOXES
        )
        steps = SandboxSteps(self.context, pricing, SandboxBills(self.context), host)
        self.sandboxes = Sandboxes(steps)
        self.sandbox_runs = SandboxRuns(steps)
        self.sandbox_views = SandboxViews(steps)
        self.sandbox_keeper = SandboxKeeper(steps)

    def _open_payments(self, prices: Mapping[str, str]) -> None:
        context, provider = self.context, self.payment_provider
        self.fulfilment = Fulfilment(context, provider)
        self.checkouts = Checkouts(
            context, self.customers, provider, self.fulfilment, prices=prices, random_text=new_secret
        )
        self.payment_refunds = PaymentRefunds(context, provider, self.checkouts, self.fulfilment)
        self.refills = Refills(context, self.customers, provider, self.fulfilment)
        looks = SubscriptionLooks(context, provider, self.fulfilment)
        self.subscriptions = Subscriptions(context, self.customers, provider, self.plans, looks)
        self.provider_events = ProviderEvents(context, provider, self.fulfilment, self.refills, looks)
        self.reconciler = Reconciler(
            context,
            provider,
            fulfilment=self.fulfilment,
            refills=self.refills,
            refunds=self.payment_refunds,
            events=self.provider_events,
        )

    def _open_operators(self) -> None:
        """What the dashboard of operators needs."""
        self.operators = Operators(self.context, self.identity)
        self.operator_actions = OperatorActions(self.context)
        self.operator_desk = OperatorDesk(
            self.context,
            self.operator_actions,
            grants=self.grants,
            wallets=self.wallets,
            charges=self.charges,
            checkouts=self.checkouts,
            refunds=self.payment_refunds,
            reconciler=self.reconciler,
            endpoints=self.endpoints,
            tasks=self.tasks,
        )

    def _payment_steps(self) -> list[Callable[[], dict[str, int]]]:
        """What is due with payments, in the order in which one leads to the next."""
        steps: list[Callable[[], dict[str, int]]] = [
            self.refills.run_once,
            self.reconciler.run_once,
            self.subscriptions.run_once,
        ]
        simulated = self.simulated_payments
        if simulated is not None:
            steps += [simulated.run_once, lambda: simulated.deliver(self.provider_events.receive)]
        return steps

    def _open_notifications(self, outgoing: Outgoing, *, test_mode: bool) -> None:
        """What tells others what happened: by webhook, and by e-mail where there is a mail server."""
        webhooks = WebhookSender(allow_private=outgoing.allow_private)
        mail = None if outgoing.smtp is None else SmtpMailer(outgoing.smtp, sender=outgoing.mail_from)
        self.endpoints = Endpoints(
            self.context, self.customers, check_host=webhooks.check_host, https_only=not test_mode
        )
        self.notifications = Notifications(self.context, self.customers, mails=mail is not None)
        self.delivery = Delivery(
            self.context, webhooks=webhooks, mail=mail, disable_after=outgoing.disable_after_days * DAY
        )

    def run_all(self) -> dict[str, int]:
        """Do all that is due, until nothing is; gives how much of each kind."""
        return run_all(self.works)

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
        prices: Mapping[str, str] | None = None,
        outgoing: Outgoing | None = None,
        sandbox_provider: SandboxProvider | None = None,
    ) -> Tally:
        """Open a database, bring it to the newest schema, and activate an economy.

        ``source`` is the clock (microseconds since the epoch); ``observe`` is told of each batch its size and seconds.
        Without a ``payment_provider``, payments are simulated.
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
            prices=prices,
            outgoing=outgoing,
            sandbox_provider=sandbox_provider,
        )

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        public_url: str | None = None,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
        runs_sandboxes: bool = False,
    ) -> Tally:
        """Open what the configuration names. ``public_url`` stands in where it names none.

        Only with ``runs_sandboxes`` are there any: whoever says so runs the worker too, which keeps them.

        Raises ``ConfigurationError``, also when live mode would run with simulated payments or on a test clock.
        """
        config.check_live()
        tally = cls.open(
            config.database_url,
            economy=config.economy,
            test_mode=not config.is_live,
            public_url=config.public_url or public_url or DEFAULT_PUBLIC_URL,
            observe=observe,
            payment_provider=_stripe_of(config),
            prices=config.stripe_prices,
            outgoing=config.outgoing,
        )
        if tally.clock.stored_offset() and (config.is_live or tally.simulated_payments is None):
            tally.close()
            name = "TALLY_MODE: expected test" if config.is_live else "STRIPE_SECRET_KEY: expected none"
            raise ConfigurationError(
                f"{name}: this database was run on a test clock, which is ahead of the real time"
            )
        if runs_sandboxes:
            tally.use_sandboxes(*find_sandboxes(config, tally.installation))
        return tally

    def close(self) -> None:
        """End deliveries, commit what is queued, then close the database."""
        self.sandbox_keeper.leave()
        self.operator_actions.close()
        self.delivery.close()
        self.context.commit.close()
        self.database.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close at the end of the block."""
        self.close()


def _stripe_of(config: Config) -> PaymentProvider | None:
    """Stripe, where its key is set; None where payments are simulated."""
    if config.stripe_secret_key is None:
        return None
    return StripePayments(
        config.stripe_secret_key,
        webhook_secrets=config.stripe_webhook_secrets,
        api_base=config.stripe_api_base,
        now=system_time,
    )
