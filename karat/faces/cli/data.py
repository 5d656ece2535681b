"""`karat data …`: import, check, anonymise, snapshot, augment, show, preview."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karat.faces.cli.face import face_of, table

if TYPE_CHECKING:
    from karat.app.data import Overview

app = typer.Typer(name="data", help="Bring data in, look at it, and make the snapshot that a model learns from.", no_args_is_help=True)
Ref = Annotated[str, typer.Argument(metavar="REF", help="A source or snapshot: its id, an alias, or `latest`.")]
Refs = Annotated[list[str], typer.Argument(metavar="REF…", help="Sources or snapshots: ids, aliases, or `latest`.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a limit of the checks, as in min_side=4.")]


@app.command(
    "import",
    epilog="karat data import pictures --name cats --licence CC0-1.0\n\nkarat data import cats.zip --column category=label\n\n"
    "karat data import poems.jsonl --column body=text",
)
def import_(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="PLACE", help="A folder, .zip or file of pictures or texts; class folders and metadata files count."),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the source; the folder's name if not given.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of all of it, where no row says another.")] = None,
    origin: Annotated[str | None, typer.Option(help="Where it comes from: an address, a person, a contract.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Rename a column, as in category=label.")] = None,
    modality: Annotated[str, typer.Option(help="What to import: image, text, or auto: pictures where there are any, else texts.")] = "auto",
    each: Annotated[str, typer.Option(help="What one sample of a .txt, .md or .docx file is: file, paragraph or line.")] = "file",
) -> None:
    """Import pictures or texts as a source: a folder, a zip file or one file. Again, it only reads what has changed."""
    from karat.app.data import ImportOptions, import_source
    from karat.app.settings import pairs
    from karat.faces.cli.telling import follow

    face = face_of(context)
    columns = dict(pairs(column or (), option="--column"))
    options = ImportOptions.from_values(
        {"name": name, "licence": licence, "origin": origin, "columns": columns, "modality": modality, "each": each}
    )
    end = follow(import_source(face.store(), folder, options=options), face.teller())
    face.say(f"Next: karat data check {end.result[:12]}, then karat data snapshot {end.result[:12]}")


@app.command(epilog="karat data check latest --set min_side=32")
def check(context: typer.Context, refs: Refs, change: Set = None) -> None:
    """Say what is wrong with the samples, with examples and repairs. Nothing is changed."""
    from karat.app import data
    from karat.app.settings import settings
    from karat.faces.cli.telling import follow

    face = face_of(context)
    follow(data.check(face.store(), refs, changes=settings(change or ())), face.teller())


@app.command(epilog="karat data snapshot latest --name digits\n\nkarat data snapshot cats dogs --drop near-duplicate --fraction test=0.3")
def snapshot(
    context: typer.Context,
    refs: Refs,
    name: Annotated[str | None, typer.Option(help="An alias for the snapshot.")] = None,
    seed: Annotated[int, typer.Option(help="The split and the order are drawn from it.")] = 0,
    drop: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Also leave out what this check finds.")] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Do not leave out what this check finds.")] = None,
    fraction: Annotated[
        list[str] | None, typer.Option(metavar="SPLIT=SHARE", help="The share of train, validation, test or judge.")
    ] = None,
    apart: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Keep equal values of this column on one side of the split, as in author."),
    ] = None,
    change: Set = None,
) -> None:
    """Clean and split sources into a snapshot, which never changes. Near duplicates stay on one side of the split."""
    from karat.app import data
    from karat.app.settings import pairs, settings
    from karat.faces.cli.telling import follow

    face = face_of(context)
    wish = data.SnapshotWish.from_values(
        {
            "seed": seed,
            "drop": drop or (),
            "keep": keep or (),
            "fractions": dict(pairs(fraction or (), option="--fraction")),
            "policy": settings(change or ()),
            "apart": apart or (),
        }
    )
    end = follow(data.snapshot(face.store(), refs, wish, alias=name), face.teller())
    face.say(f"Next: karat train {name or end.result[:12]}")


@app.command(epilog="karat data anonymise latest\n\nkarat data anonymise letters --how removal --kind email --kind phone")
def anonymise(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source: its id, an alias, or `latest`.")],
    how: Annotated[str, typer.Option(help="placeholders (the same for the same value) or removal.")] = "placeholders",
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only this kind: email, phone, id-card, bank-card, credit-code, ip or plate. May be repeated."),
    ] = None,
) -> None:
    """Make a new source, in which the personal data of a source is replaced or removed. The old one stays."""
    from karat.app import data
    from karat.faces.cli.telling import follow

    face = face_of(context)
    wish = data.Anonymising.from_values({"how": how, **({"kinds": kind} if kind else {})})
    end = follow(data.anonymise(face.store(), source, wish), face.teller())
    face.say(f"Next: karat data check {end.result[:12]}")


@app.command(
    epilog="karat data augment poems --synonyms words.txt --copies 2 --name poems-more\n\n"
    "karat data augment en-zh --back zh-en:live --spans 0.1 --name en-zh-more"
)
def augment(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A snapshot of texts: its id, an alias, or `latest`.")],
    name: Annotated[str | None, typer.Option(help="An alias for the new snapshot.")] = None,
    copies: Annotated[int, typer.Option(help="Altered copies of each text.")] = 1,
    spans: Annotated[float, typer.Option(metavar="SHARE", help="Leave out so many of the words, one to three at a time.")] = 0.0,
    synonyms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replace words by others of the same meaning: lines such as big, large, huge.")
    ] = None,
    replaced: Annotated[float, typer.Option(metavar="SHARE", help="Replace so many of the words in that file.")] = 0.3,
    back: Annotated[
        list[str] | None,
        typer.Option(metavar="RELEASE", help="Take what this release makes of the answers as questions; given twice: there and back."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The copies are drawn from it.")] = 0,
    allow_label_changes: Annotated[
        bool, typer.Option("--allow-label-changes", help="Also do what may make an answer or label untrue, or teach gaps.")
    ] = False,
) -> None:
    """Make a snapshot that also learns from altered copies of its texts. What is held out stays as it is, and so does the old snapshot."""
    from karat.app.augmenting import AugmentingWish, augment_snapshot
    from karat.faces.cli.telling import follow

    face = face_of(context)
    how = {"copies": copies, "spans": spans, "replaced": replaced, "seed": seed, "allow_label_changes": allow_label_changes}
    wish = AugmentingWish.from_values({"synonyms": synonyms, "back": back or (), "how": how})
    end = follow(augment_snapshot(face.store(), snapshot, wish, alias=name), face.teller())
    face.say(f"Next: karat train {name or end.result[:12]}")


@app.command(epilog="karat data show digits")
def show(context: typer.Context, ref: Ref) -> None:
    """Show what a source or snapshot holds: counts, labels, captions, licences, what was left out."""
    from karat.app.data import overview

    face = face_of(context)
    found = overview(face.store(), ref)
    face.tell(found, _overview_lines(found))


@app.command(epilog="karat data preview digits -o sheet.png")
def preview(
    context: typer.Context,
    ref: Ref,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; sheet.png or sheet.txt if not given.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many samples.")] = 64,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change how they become values, as in size=32 or units=bytes.")
    ] = None,
) -> None:
    """Show samples as a model will see them: pictures on a contact sheet, texts as tokens."""
    from karat.app import data
    from karat.app.settings import settings, tree_of
    from karat.faces.cli.telling import follow

    face = face_of(context)
    follow(data.preview(face.store(), ref, out, count=count, made=tree_of(settings(change or ()))), face.teller())


def _overview_lines(found: "Overview") -> Iterator[str]:
    yield f"{found.kind} {found.id}"
    facts = [("from", ", ".join(found.names)), ("origin", ", ".join(found.origins)), ("licence", ", ".join(found.licences))]
    facts += [(part, f"{count:,} samples") for part, count in found.counts.items()]
    facts += [(f"captions in {column}", f"{count:,} samples") for column, count in found.captions.items()]
    facts += [(f"in {encoding}", f"{count:,} samples") for encoding, count in found.encodings.items()]
    facts += [(f"left out: {check}", f"{count:,} samples") for check, count in found.left_out.items()]
    yield from table(facts, indent="  ")
    labels = sorted({label for of in found.labels.values() for label in of})
    if labels:
        yield "  labels"
        rows = [["", *found.counts]] + [
            [label, *(f"{found.labels[part].get(label, 0):,}" for part in found.counts)] for label in labels[:40]
        ]
        yield from table(rows, indent="    ")
        if len(labels) > 40:
            yield f"    … and {len(labels) - 40:,} more"
    for sample in found.examples:
        words = [sample.label or "", *sample.captions.values(), " ".join(found.beginnings.get(sample.id, "").split())]
        yield f"  example  {sample.name}  {'; '.join(word for word in words if word)}".rstrip()
