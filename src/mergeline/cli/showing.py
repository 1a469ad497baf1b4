"""`mergeline show`: what is stored, and why.

In: ids. Out: a tree for people, or the documents of `schemas/show`. Never: a change; exit status 1, and nothing on
stdout, where it is not there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import click
from rich.tree import Tree

from mergeline.cli.group import id_type, json_option, ledger_org_type, org_id_type, text_type, with_settings
from mergeline.cli.output import console, lay_out, note, print_json
from mergeline.cli.shown import card_tree, customer_tree, identifier_tree, request_tree
from mergeline.database import connected
from mergeline.domain.requests import IdentifierType
from mergeline.settings import Settings
from mergeline.store import showing
from mergeline.store.statements import Connection


@click.group(no_args_is_help=True)
def show() -> None:
    """What is stored: a customer, an identifier, a card, a request."""


@show.command()
@click.argument("org", type=org_id_type)
@click.argument("customer_id", metavar="ID", type=id_type)
@json_option
@with_settings
def customer(settings: Settings, org: int, customer_id: int, *, as_json: bool) -> None:
    """Customer ID of ORG: its identifiers by source, cards, merges.

    \b
    Example:
      mergeline show customer 100737 501
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = _find(settings, lambda connection: showing.show_customer(connection, org, customer_id))
    _answer(found, customer_tree, f"customer {org}:{customer_id}", as_json=as_json)


@show.command()
@click.argument("org", type=org_id_type)
@click.argument("identifier_type", metavar="TYPE", type=click.Choice(get_args(IdentifierType)))
@click.argument("value", type=text_type)
@json_option
@with_settings
def identifier(settings: Settings, org: int, identifier_type: str, value: str, *, as_json: bool) -> None:
    """Who holds the identifier TYPE VALUE of ORG, and in which sources.

    VALUE is normalised first, as in a request: any spelling of a mobile or an e-mail finds it. What is not found so is
    looked for as it is given.

    \b
    Example:
      mergeline show identifier 100737 mobile "138 0013 8000"
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = _find(settings, lambda connection: showing.show_identifier(connection, org, identifier_type, value))

    def tree(document: Any) -> Tree:
        return identifier_tree(org, identifier_type, value, document)

    _answer(found, tree, f"{identifier_type} {value} of org {org}", as_json=as_json)


@show.command()
@click.argument("org", type=org_id_type)
@click.argument("number", type=text_type)
@json_option
@with_settings
def card(settings: Settings, org: int, number: str, *, as_json: bool) -> None:
    """The card NUMBER of ORG: whose it is, its status.

    \b
    Example:
      mergeline show card 100737 GOLD-0001
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = _find(settings, lambda connection: showing.show_card(connection, org, number))
    _answer(found, card_tree, f"card {number} of org {org}", as_json=as_json)


@show.command()
@click.argument("org", type=ledger_org_type)
@click.argument("request_id", type=text_type)
@json_option
@with_settings
def request(settings: Settings, org: int, request_id: str, *, as_json: bool) -> None:
    """What became of REQUEST_ID of ORG, what was published for it, and what came again under it.

    What was sent without an id, or is no well-formed request (a dead letter), goes by its place,
    topic-partition-offset, without the prefix of the topic; after it was reset, with its incarnation,
    topic@2-partition-offset. A dead letter that names no org is under org 0.

    \b
    Example:
      mergeline show request 100737 identifier-updates-3-17
    """  # noqa: D301 - \b is click's mark for text to leave as it is
    found = _find(settings, lambda connection: showing.show_request(connection, org, request_id))
    what = f"request {request_id} of org {org}"
    if found is None:
        note(f"{what} is not there. What is no well-formed request goes by its place: mergeline redrive lists it")
        raise SystemExit(1)
    _answer(found, request_tree, what, as_json=as_json)


def _find(settings: Settings, read: Callable[[Connection], Awaitable[dict[str, Any] | None]]) -> dict[str, Any] | None:
    async def find() -> dict[str, Any] | None:
        async with connected(settings) as connection:
            return await read(connection)

    return asyncio.run(find())


def _answer(found: dict[str, Any] | None, tree: Callable[[dict[str, Any]], Tree], what: str, *, as_json: bool) -> None:
    if found is None:
        note(f"{what} is not there")
        raise SystemExit(1)
    if as_json:
        print_json(found)
    else:
        lay_out(console(), tree(found))
