"""Bad economy files: every mistake is explained with its key, its line, what was expected and found."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.economy_file import load
from tallystick.core.errors import EconomyInvalid, EconomyProblem
from tallystick.economies import read
from tests.core.economy_texts import FULL, SMALL

NOTHING = "nothing"
SALE = "\n[purchase]\nmin_usd = 10\nmax_usd = 50\ncredits_per_usd = 1"
REFILL = (
    "[auto_refill]\nthreshold_min = 1\nthreshold_default = 1\namount_min_usd = 1\namount_default_usd = 1\n"
)
METER = '[meters.lookup]\ncategory = "data"\ndescription = "One"\n'
PRICES = METER + "[[meters.lookup.prices]]\n"
PLAN = "[[plans.free.allowances]]\n"
SANDBOX = "[sandbox]\ndefault_vcpu = 1\ndefault_memory_mib = 512\ndefault_timeout_seconds = 60\n"
SECOND = '[meters.s]\ncategory = "x"\ndescription = "S"\nprices = [{ kind = "per_unit", per_unit = 1 }]\n'
TIERS_EXPECTED = "tiers with rising up_to, and only the last one without up_to"
PER_SECOND = "a meter with one price, of kind per_unit and without flat"

# fmt: off
# What stands after the small economy, and the one problem with it: its line in it, key, expectation, finding.
MISTAKES = (
    # Numbers
    (METER + "price = -1", 4, "meters.lookup.price", "a number that is not negative", "-1"),
    (METER + "price = true", 4, "meters.lookup.price", "a plain decimal number with at most 6 decimals",
     "true"),
    (METER + 'price = "free"', 4, "meters.lookup.price", "a plain decimal number with at most 6 decimals",
     '"free"'),
    (METER + "price = nan", 4, "meters.lookup.price", "a plain decimal number with at most 6 decimals",
     "NaN"),
    (METER + "price = 1e999999999999999999999", 4, "meters.lookup.price",
     "a plain decimal number with at most 6 decimals", "NaN"),
    (METER + "price = 1e400", 4, "meters.lookup.price", "at most 1000000000", "1E+400"),
    (METER + "price = 0.0000001", 4, "meters.lookup.price", "at most 6 decimals", "0.0000001"),
    (METER + f"price = 0x{'f' * 5000}", 4, "meters.lookup.price", "at most 1000000000",
     "a very large number"),
    (METER + "price = 1979-05-27", 4, "meters.lookup.price", "a plain decimal number with at most 6 decimals",
     "1979-05-27"),
    (METER + "price = 1\nhourly_limit = 0", 5, "meters.lookup.hourly_limit",
     "a whole number from 1 to 1000000000", "0"),
    (METER + "price = 1\nhourly_limit = true", 5, "meters.lookup.hourly_limit",
     "a whole number from 1 to 1000000000", "true"),
    ("[task_fee]\nbasis_points = 10001", 2, "task_fee.basis_points", "a whole number from 0 to 10000",
     "10001"),
    ("[task_fee]", 1, "task_fee.basis_points", "a whole number from 0 to 10000", NOTHING),
    ('[packs.p]\ntitle = "P"\ncredits = 0\nprice_usd = 1', 3, "packs.p.credits", "a number above 0", "0"),
    ('[packs.p]\ntitle = "P"\ncredits = 1\nprice_usd = 1.005', 4, "packs.p.price_usd", "at most 2 decimals",
     "1.005"),
    # Words and texts
    (METER.replace('"One"', "1") + "price = 1", 3, "meters.lookup.description", "a text", "1"),
    (METER.replace('"One"', '""') + "price = 1", 3, "meters.lookup.description", "a text", '""'),
    (METER.replace('"data"', f'"{"Long " * 20}"') + "price = 1", 2, "meters.lookup.category",
     "a name of lower-case letters, digits and underscores", f'"{"Long " * 20}'[:60] + "…"),
    ('[settlement]\non_insufficient = "ignore"', 2, "settlement.on_insufficient",
     "one of reject, create_unbilled", '"ignore"'),
    ('[[sign_up]]\namount = 1\ndescription = "x"\ncategory = "purchase"', 4, "sign_up[0].category",
     "one of initial_grant, bonus, promotional_grant", '"purchase"'),
    ('[plans.b]\ntitle = "B"\ncan_buy_packs = "yes"', 3, "plans.b.can_buy_packs", "true or false", '"yes"'),
    ('[[sign_up]]\namount = 1\ndescription = "x"\nexpires_after = "soon"', 4, "sign_up[0].expires_after",
     "a duration such as P30D, PT24H or P1M, at most 100 years", '"soon"'),
    ('[[sign_up]]\namount = 1\ndescription = "x"\nexpires_after = 30', 4, "sign_up[0].expires_after",
     "a duration such as P30D, PT24H or P1M, at most 100 years", "30"),
    ('[packs.p]\ntitle = "P"\ncredits = 1\nprice_usd = 1\nstripe_price_env = "price_123"', 5,
     "packs.p.stripe_price_env", "a name such as STRIPE_PRICE_PRO", '"price_123"'),
    # Names
    ('[plans.Pro]\ntitle = "Pro"', 1, "plans.Pro", "a name of lower-case letters, digits and underscores",
     '"Pro"'),
    ('[units."r-Uv"]\ndescription = "x"', 1, "units.r-Uv", "a name of letters, digits and underscores",
     '"r-Uv"'),
    # Forms
    ("[plans]\npro = 1", 2, "plans.pro", "a table", "1"),
    (METER + "prices = 1", 4, "meters.lookup.prices", "an array of tables: [[meters.lookup.prices]]", "1"),
    (METER + "prices = [1]", 4, "meters.lookup.prices[0]", "a table", "1"),
    # Unknown keys
    (METER + "price = 1\nhourly_limits = 5", 5, "meters.lookup.hourly_limits",
     "hourly_limit (did you mean that?)", "an unknown key"),
    ("[meterz]", 1, "meterz", "meters (did you mean that?)", "an unknown key"),
    ("[[sign_up]]\namount = 1\ndescription = 'x'\nxyz = 1", 4, "sign_up[0].xyz",
     "one of amount, category, description, expires_after, unit", "an unknown key"),
    ("[priorities]\npurchases = 5", 2, "priorities.purchases", "purchase (did you mean that?)",
     "an unknown key"),
    ("[low_balance]\ncredit = [5]", 2, "low_balance.credit", "credits (did you mean that?)",
     "an unknown key"),
    # Prices
    (METER, 1, "meters.lookup.price", "a number", NOTHING),
    (METER + "prices = []", 4, "meters.lookup.prices",
     "a price for at least one unit, and each unit at most once", "an array"),
    (METER + 'prices = [{ kind = "free" }, { kind = "free" }]', 4, "meters.lookup.prices",
     "a price for at least one unit, and each unit at most once", "an array"),
    (PRICES + 'kind = "cheap"', 5, "meters.lookup.prices[0].kind",
     "one of free, flat, per_unit, graduated, volume", '"cheap"'),
    (PRICES + 'kind = "flat"\nflat = 0', 6, "meters.lookup.prices[0].flat", "a number above 0", "0"),
    (PRICES + 'kind = "per_unit"\nper_unit = 0', 6, "meters.lookup.prices[0].per_unit", "a number above 0",
     "0"),
    (PRICES + 'kind = "flat"\nflat = 1\nper_unit = 1', 7, "meters.lookup.prices[0].per_unit",
     "one of flat, kind, unit", "an unknown key"),
    (PRICES + 'unit = "USD"\nkind = "free"', 5, "meters.lookup.prices[0].unit", "one of credits", '"USD"'),
    (PRICES + 'kind = "graduated"', 4, "meters.lookup.prices[0].tiers", TIERS_EXPECTED, NOTHING),
    (PRICES + 'kind = "graduated"\ntiers = [{ up_to = 5, per_unit = 1 }]', 6, "meters.lookup.prices[0].tiers",
     TIERS_EXPECTED, "an array"),
    (PRICES + 'kind = "volume"\ntiers = [{ per_unit = 1 }, { per_unit = 2 }]', 6,
     "meters.lookup.prices[0].tiers", TIERS_EXPECTED, "an array"),
    (PRICES + 'kind = "volume"\ntiers = [{ up_to = 5, per_unit = 1 }, { up_to = 5, per_unit = 1 },'
     "{ per_unit = 1 }]", 6, "meters.lookup.prices[0].tiers", TIERS_EXPECTED, "an array"),
    (PRICES + 'kind = "volume"\ntiers = [\n{ up_to = 5, per_unit = 1 },\n{ per_unit = -1 },\n]', 8,
     "meters.lookup.prices[0].tiers[1].per_unit", "a number that is not negative", "-1"),
    # What belongs together
    (PLAN + "amount = 1\n" + PLAN + "amount = 2", 1, "plans.free.allowances", "each unit at most once",
     "an array"),
    (PLAN + 'amount = "lots"', 2, "plans.free.allowances[0].amount",
     "a plain decimal number with at most 6 decimals", '"lots"'),
    ("[purchase]\nmin_usd = 10\nmax_usd = 5\ncredits_per_usd = 1", 3, "purchase.max_usd", "at least min_usd",
     "5"),
    ("[auto_refill]\nthreshold_min = 2\nthreshold_default = 1\namount_min_usd = 1\namount_default_usd = 1" + SALE, 3,
     "auto_refill.threshold_default", "at least threshold_min", "1"),
    ("[auto_refill]\nthreshold_min = 1\nthreshold_default = 1\namount_min_usd = 2\namount_default_usd = 1" + SALE, 5,
     "auto_refill.amount_default_usd", "at least amount_min_usd", "1"),
    (REFILL, 2,
     "auto_refill.threshold_min", "a [purchase] section as well: it says how many credits a dollar buys", "1"),
    (REFILL + "daily_max_usd = 0.5" + SALE, 6,
     "auto_refill.daily_max_usd", "at least amount_min_usd", "0.5"),
    (REFILL + "daily_max_usd = 5\nmonthly_max_usd = 4" + SALE, 7,
     "auto_refill.monthly_max_usd", "at least daily_max_usd", "4"),
    (REFILL + "pause_after_failures = 0" + SALE, 6,
     "auto_refill.pause_after_failures", "a whole number from 1 to 10", "0"),
    ("[low_balance]\ncredits = [100, 20]", 2, "low_balance.credits", "an array of numbers, smallest first",
     "an array"),
    ("[low_balance]\ncredits = []", 2, "low_balance.credits", "an array of numbers, smallest first",
     "an array"),
    ("[low_balance]\ncredits = 20", 2, "low_balance.credits", "an array of numbers, smallest first", "20"),
    ("[expiry_notice]\ndays = 0", 2, "expiry_notice.days", "a whole number from 1 to 366", "0"),
    ("[low_balance]\ncredits = [0]", 2, "low_balance.credits", "an array of numbers, smallest first",
     "an array"),
    # Rewards
    ('[rewards.a]\ndescription = "A"', 1, "rewards.a.ranges",
     "a range for each difficulty, such as ranges = { any = [1, 10] }", NOTHING),
    ('[rewards.a]\ndescription = "A"\nranges = { any = [1] }', 3, "rewards.a.ranges.any",
     "an array of 2 numbers, smallest first", "an array"),
    ('[rewards.a]\ndescription = "A"\nranges = { any = [1, 2] }\naliases = ["B"]', 4, "rewards.a.aliases",
     "an array of names", "an array"),
    ('[rewards.a]\ndescription = "A"\nranges = { any = [1, 2] }\naliases = ["a"]', 4, "rewards.a.aliases",
     "names that no other reward has", '"a"'),
)
# fmt: on


def problems(text: str) -> list[EconomyProblem]:
    """Give what is wrong with a text."""
    with pytest.raises(EconomyInvalid) as refused:
        load(text, name="bad")
    return list(refused.value.problems)


def problem(text: str) -> EconomyProblem:
    """Give the only thing that is wrong with a text."""
    (only,) = problems(text)
    return only


@pytest.mark.parametrize(
    ("addition", "line", "key", "expected", "found"),
    MISTAKES,
    ids=[f"{number}-{mistake[2]}" for number, mistake in enumerate(MISTAKES)],
)
def test_a_bad_file_is_explained_with_key_line_expectation_and_finding(
    addition: str, line: int, key: str, expected: str, found: str
) -> None:
    """Every mistake says where it is, what was expected there and what stands there."""
    after = SMALL.count("\n")
    assert EconomyProblem(key, after + line, expected, found) == problem(SMALL + addition)


@pytest.mark.parametrize(
    ("old", "new", "key", "expected", "found"),
    [
        ('title = "Small"\n', "", "economy.title", "a text", NOTHING),
        ('primary_unit = "credits"', "", "economy.primary_unit", "one of credits", NOTHING),
        (
            'primary_unit = "credits"',
            'primary_unit = "rUv"',
            "economy.primary_unit",
            "one of credits",
            '"rUv"',
        ),
        ('default_plan = "free"', 'default_plan = "pro"', "economy.default_plan", "one of free", '"pro"'),
        (
            "[units.credits]",
            'server_name = "My Server"\n[units.credits]',
            "economy.server_name",
            "a name such as my-platform",
            '"My Server"',
        ),
        (
            "[units.credits]",
            'key_prefix = "tly"\n[units.credits]',
            "economy.key_prefix",
            "lower-case letters and an underscore",
            '"tly"',
        ),
        (
            "[units.credits]",
            'checkout_expires_after = "P0D"\n[units.credits]',
            "economy.checkout_expires_after",
            "a duration such as P30D, PT24H or P1M, at most 100 years",
            '"P0D"',
        ),
        ("[economy]", "purchase = 1\n[economy]", "purchase", "a table", "1"),
        ("[economy]", "sign_up = 1\n[economy]", "sign_up", "an array of tables: [[sign_up]]", "1"),
    ],
)
def test_a_bad_head_is_explained(old: str, new: str, key: str, expected: str, found: str) -> None:
    """The section [economy] names a unit and a plan that exist, and sections have the right form."""
    told = problem(SMALL.replace(old, new, 1))
    assert (key, expected, found) == (told.key, told.expected, told.found)


@pytest.mark.parametrize(
    ("meters", "addition", "key", "expected"),
    [
        ("", 'vcpu_meter = "s"\ngib_meter = "s"', "sandbox.vcpu_meter", PER_SECOND),
        (SECOND, 'vcpu_meter = "s"', "sandbox.gib_meter", "a text"),
        (SECOND, 'vcpu_meter = "s"\ngib_meter = ["s"]', "sandbox.gib_meter", PER_SECOND),
        (SECOND.replace("per_unit = 1", "per_unit = 1, flat = 1"), 'vcpu_meter = "s"\ngib_meter = "s"',
         "sandbox.vcpu_meter", PER_SECOND),
        (SECOND.replace('{ kind = "per_unit", per_unit = 1 }', '{ kind = "free" }'),
         'vcpu_meter = "s"\ngib_meter = "s"', "sandbox.vcpu_meter", PER_SECOND),
    ],
)  # fmt: skip
def test_a_sandbox_is_priced_by_meters_that_price_seconds(
    meters: str, addition: str, key: str, expected: str
) -> None:
    """Both meters exist, and have one price per unit and nothing else."""
    found = problems(SMALL + meters + SANDBOX + addition)
    assert (key, expected) in [(each.key, each.expected) for each in found]


def test_both_meters_of_a_sandbox_are_priced_in_one_unit() -> None:
    """A second of a sandbox has one price in one unit."""
    text = SMALL + '[units.USD]\ndescription = "Dollars"\n' + SECOND
    text += SECOND.replace("meters.s", "meters.d").replace("{ kind", '{ unit = "USD", kind')
    told = problem(text + SANDBOX + 'vcpu_meter = "s"\ngib_meter = "d"')
    assert ("sandbox.gib_meter", "a meter priced in credits, like vcpu_meter") == (told.key, told.expected)


def test_a_meter_has_either_the_short_form_or_prices() -> None:
    """Both at once would leave open which one counts."""
    told = problem(SMALL + METER + "price = 1\nprices = [{ kind = 'free' }]")
    assert ("meters.lookup.prices", "either price or prices") == (told.key, told.expected)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_text() -> None:
    """An operator corrects a file once, and not once for each mistake."""
    found = problems(
        FULL.replace("decimals_shown = 6", "decimals_shown = 7").replace("= 0.25", "= -1") + "x = 1"
    )
    assert ["units.USD.decimals_shown", "task_fee.fixed", "priorities.x"] == [each.key for each in found]
    lines = [each.line or 0 for each in found]
    assert sorted(lines) == lines


def test_an_empty_file_says_what_is_required() -> None:
    """A head with a title, a unit and a plan."""
    expected = {"economy.title", "economy.primary_unit", "economy.default_plan", "units"}
    assert expected == {each.key for each in problems("")}


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a = 1\nb = = 2\n", 2, "Invalid value"),
        ("a = 1\na = 2\n", 2, "Cannot overwrite a value"),
        ('a = """', None, "Unterminated string"),
        ("a = " + "[" * 100_000, None, "maximum recursion depth exceeded"),
        ("a = " + "9" * 5000, None, "Exceeds the limit"),
    ],
    ids=["syntax", "twice", "end", "depth", "digits"],
)
def test_text_that_is_no_toml_is_refused_with_its_line(text: str, line: int | None, found: str) -> None:
    """What the standard library's reader says is passed on."""
    told = problem(text)
    assert ("(the file)", line, "valid TOML") == (told.key, told.line, told.expected)
    assert told.found.startswith(found)


def mutilations(text: str) -> Iterator[str]:
    """Give a text with each of its lines left out, and with each of its values replaced by others."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        before, after = "".join(lines[:number]), "".join(lines[number + 1 :])
        yield before + after
        key, equals, _ = line.partition("=")
        if equals and not line.startswith("#"):
            for value in ("-1", "true", '""', "[]", "{}", '"unlimited"', "[[1]]", "nan"):
                yield f"{before}{key}= {value}\n{after}"


@pytest.mark.parametrize("name", ["starter", "the full one"])
def test_no_mistake_in_a_file_breaks_the_reader(name: str) -> None:
    """Whatever line is missing or wrong, there is an economy or an explanation on a line that exists."""
    text = read(name) if name == "starter" else FULL
    for bad in mutilations(text):
        assert all(1 <= (each.line or 1) <= bad.count("\n") + 1 for each in problems_if_any(bad))


def problems_if_any(text: str) -> tuple[EconomyProblem, ...]:
    """Give what is wrong with a text, which may be nothing."""
    try:
        load(text, name="any")
    except EconomyInvalid as refused:
        return refused.problems
    return ()


@given(st.text(max_size=200))
def test_any_text_at_all_is_read_or_explained(text: str) -> None:
    """Nothing but EconomyInvalid comes out."""
    assert problems(text)
