"""What became of points and campaigns, day by day: a report for analysts, straight from the topics.

    python -m examples.analytics                      # prints it
    python -m examples.analytics --to analytics.png   # and draws it

It reads up to a consistent cut, so that every voucher in it was paid in it, and needs nothing of the platform but Kafka.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from streams.client import Cut, cut, subscribe
from streams.contract import Event
from topics.points import PointsAwarded, PointsHoldCaptured, PointsSpent
from topics.promotions import VoucherPurchased, VoucherPurchaseFailed, VoucherPurchaseStarted

KINDS: tuple[type[Event], ...] = (
    PointsAwarded, PointsSpent, PointsHoldCaptured, VoucherPurchaseStarted, VoucherPurchased, VoucherPurchaseFailed,
)  # fmt: skip
ISSUED, SPENT, VOUCHERS, FAILED, QUIET = "#2a6f97", "#e07a5f", "#3d405b", "#d8d4cf", "#6b7280"


class Report(NamedTuple):
    """`days`: day, issued, spent; `campaigns`: campaign, started, purchased, conversion, points."""

    days: pl.DataFrame
    campaigns: pl.DataFrame


def read(**options: Any) -> Report:
    """The report of now; `options` say which Kafka, as for `subscribe`."""
    ends: Cut = asyncio.run(cut(*KINDS, **options))
    frames = subscribe(*KINDS, until=ends, **options).polars().all()
    return Report(days(frames), campaigns(frames))


def days(frames: Any) -> pl.DataFrame:
    """Points issued and spent on each day; what pays for a voucher is spent when its hold is captured."""
    issued = _by_day(frames[PointsAwarded], "issued")
    spent = _by_day(
        pl.concat([frames[kind].select("_time", "amount") for kind in (PointsSpent, PointsHoldCaptured)]), "spent"
    )
    return issued.join(spent, on="day", how="full", coalesce=True).fill_null(0).sort("day")


def _by_day(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.group_by(pl.col("_time").dt.date().alias("day")).agg(pl.col("amount").sum().alias(name))


def campaigns(frames: Any) -> pl.DataFrame:
    """How many purchases each campaign began and how many it sold, for how many points."""
    started = frames[VoucherPurchaseStarted].group_by("campaign_id").agg(pl.len().alias("started"))
    sold = frames[VoucherPurchased].group_by("campaign_id")
    purchased = sold.agg(pl.len().alias("purchased"), pl.col("price").sum().alias("points"))
    share = (pl.col("purchased") / pl.col("started")).alias("conversion")
    joined = started.join(purchased, on="campaign_id", how="left").fill_null(0)
    table: pl.DataFrame = joined.select("campaign_id", "started", "purchased", share, "points")
    return table.sort("purchased", "started", descending=True)


def draw(report: Report, to: Path) -> None:
    """Both tables as a picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {"font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained", width_ratios=(3, 2))
    _draw_days(left, report.days)
    _draw_campaigns(right, report.campaigns.head(10))
    figure.savefig(to, dpi=110)
    plt.close(figure)


def _draw_days(axes: Any, table: pl.DataFrame) -> None:
    import matplotlib.dates as mdates

    dates: Any = mdates
    day = table["day"].to_list()
    axes.bar(day, table["issued"], color=ISSUED, width=0.8, label="issued")
    axes.bar(day, table["spent"], color=SPENT, width=0.45, label="spent")
    locator = dates.AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    axes.set_title("Points issued and spent per day", loc="left", fontweight="bold")
    axes.grid(axis="y", color=FAILED, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.0), ncols=2)
    axes.set_ylim(0, max([1, *table["issued"].to_list(), *table["spent"].to_list()]) * 1.15)


def _draw_campaigns(axes: Any, table: pl.DataFrame) -> None:
    table = table.reverse()
    axes.barh(table["campaign_id"], table["started"], color=FAILED, height=0.7)
    axes.barh(table["campaign_id"], table["purchased"], color=VOUCHERS, height=0.7)
    for row, (started, share) in enumerate(zip(table["started"], table["conversion"], strict=True)):
        axes.text(started, row, f"  {share:.0%}", va="center", color=QUIET)
    axes.set_title("Vouchers sold of purchases begun", loc="left", fontweight="bold")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)


def main() -> None:
    """Print the report, and draw it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m examples.analytics", description=__doc__)
    parser.add_argument("--to", type=Path, help="file of the picture")
    to: Path | None = parser.parse_args().to
    report = read()
    with pl.Config(tbl_rows=40, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, float_precision=2):
        print(report.days)
        print(report.campaigns)
    if to is not None:
        draw(report, to)


if __name__ == "__main__":
    main()
