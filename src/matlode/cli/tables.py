"""Commands about tables of materials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from matlode import completion
from matlode.cli.printing import print_check, print_json, print_table
from matlode.cli.shared import (
    AsJson,
    Commands,
    DataTable,
    FewWorkers,
    PropertiesFile,
    Scheduler,
    open_engine,
    refuse,
    show_command_progress,
)

commands = typer.Typer(
    help="Import, check and describe tables of materials.", cls=Commands, no_args_is_help=True
)


@commands.command("features")
def data_features(
    table: Annotated[Path, typer.Argument(help="Parquet table of structures of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.npy, unusable.csv, arrays.json.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--what",
            help="patterns, compositions, composition-descriptors, pattern-descriptors.",
            autocompletion=completion.of(completion.ARRAYS),
        ),
    ] = None,
    workers: FewWorkers = 1,
    scheduler: Scheduler = None,
) -> None:
    """Compute patterns and descriptors, as memory-mapped arrays."""
    from matlode.representation.streaming import stream_table

    with show_command_progress() as progress, open_engine(workers, scheduler) as engine:
        header = stream_table(table, out, names or ["patterns"], engine=engine, progress=progress)
    print(header)


@commands.command("import")
def data_import(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files (CIF, POSCAR, CSV, JSON, JSONL, Parquet, XYZ), folders, or databases: "
            "mp:QUERY, optimade:URL, jarvis:SET, matminer:SET."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for materials.parquet, dropped.csv and provenance.json."),
    ],
    cell: Annotated[
        str,
        typer.Option(
            help="Cell of ordered crystals: primitive, conventional or as-is.",
            autocompletion=completion.of(completion.CELLS),
        ),
    ] = "primitive",
    column: Annotated[
        list[str] | None,
        typer.Option(help="NAME=THEIRS[:UNIT], such as bulk_modulus_vrh=k_vrh:Mbar."),
    ] = None,
    structure_column: Annotated[
        str | None, typer.Option(help="Column of a table that holds the crystal.")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option(help="Keep rows of equal formula, space group and pattern.")
    ] = False,
    drop_disordered: Annotated[
        bool, typer.Option(help="Leave out crystals with mixed or partly filled sites.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Licence of rows without one.")] = None,
    optimade_filter: Annotated[
        str | None, typer.Option("--filter", help="OPTIMADE filter, such as 'nelements=2'.")
    ] = None,
) -> None:
    """Import structures into one table.

    dropped.csv lists what cannot be used, and why.
    """
    from matlode.data.cells import parse_cell
    from matlode.data.labels import Column
    from matlode.jobs.import_data import ImportSettings, import_data

    if not any(source.startswith("optimade:") for source in sources):
        refuse(ctx, "optimade_filter", when="without an optimade: source")
    settings = ImportSettings(
        cell=parse_cell(cell),
        columns=tuple(Column.parse(text) for text in column or ()),
        structure_column=structure_column,
        keep_duplicates=keep_duplicates,
        drop_disordered=drop_disordered,
        licence=licence,
        filter=optimade_filter,
    )
    with show_command_progress() as progress:
        imported = import_data(sources, out, settings=settings, progress=progress)
    rows = imported.provenance["rows"]
    print(f"{rows['kept']} materials, {rows['dropped']} dropped: {out}")
    others = sum(source["other_files"] for source in imported.provenance["sources"])
    if others:
        print(f"  {others} other files were no structures by their names")
    for reason, count in rows["dropped_by_reason"].items():
        print(f"{count:8d} {reason}")
    if not rows["kept"]:
        raise typer.Exit(1)  # nothing could be read or used


@commands.command("elements")
def data_elements(
    table: Annotated[
        Path | None, typer.Argument(help="Structure table (default: the starter set).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models.")] = Path("models"),
    as_json: AsJson = False,
) -> None:
    """Compute the energies of the elements in both potentials.

    Formation energies refer to them.
    """
    from matlode.data.tables import load_starter, read_table
    from matlode.evidence.examination import Examination, compute_element_references

    examination = Examination(read_table(table) if table else load_starter())
    with show_command_progress(kept=True) as progress, open_engine() as engine:
        references = compute_element_references(examination, out, progress, engine=engine)
    if as_json:
        print_json({potential: dict(found) for potential, found in references.energies.items()})
        return
    rows = [[potential, str(len(found))] for potential, found in references.energies.items()]
    print_table(["potential", "elements"], rows, title=str(out))


@commands.command("prototypes")
def data_prototypes(
    table: Annotated[
        Path | None, typer.Argument(help="Structure table (default: the starter set).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write (default: beside the table).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the structure types of a table, by Wyckoff sequence."""
    from matlode.data.tables import load_starter, read_table
    from matlode.realisation.structure_types import find_types_file, structure_types, write_types

    with show_command_progress() as progress:
        types = structure_types(read_table(table) if table else load_starter(), progress=progress)
    if out is not None or table is not None:
        write_types(types, out or find_types_file(table))
    if as_json:
        print_json(types.to_dict(orient="records"))
        return
    commonest = types.loc[types["prototype"] != "", ["prototype", "name"]].value_counts().head(20)
    rows = [[*map(str, kind), str(n)] for kind, n in zip(commonest.index, commonest, strict=True)]
    title = f"{types['prototype'].nunique()} types of {len(types)} crystals"
    print_table(["type", "name", "crystals"], rows, title=title)


@commands.command("info")
def data_info(data: DataTable = None, as_json: AsJson = False) -> None:
    """Count the rows, formulas and labels of a table."""
    from matlode.data.tables import load_materials

    materials = load_materials(data)
    frame = materials.frame
    counts = {
        str(column): int(frame[column].notna().sum())
        for column in frame.select_dtypes("number").columns
    }
    if as_json:
        dropped = [{"id": d.id, "reason": d.reason} for d in materials.dropped]
        formulas = int(frame["formula"].nunique())
        held = {"materials": len(frame), "formulas": formulas, "values": counts}
        print_json({**held, "dropped": dropped})
        return
    print(f"{len(frame)} materials, {frame['formula'].nunique()} formulas")
    for row in materials.dropped:
        print(f"dropped {row.id}: {row.reason}")
    for column, count in counts.items():
        print(f"{column:36s} {count:8d} values")


@commands.command("check")
def data_check(
    table: Annotated[Path, typer.Argument(help="Structure table, or its folder.")],
    properties: PropertiesFile = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a table is enough to train on.

    Counts, elements, leakage, outliers, and a verdict.
    """
    from dataclasses import asdict

    from matlode.training.check_data import check_data

    with show_command_progress() as progress:
        check = check_data(table, properties=properties, progress=progress)
    if as_json:
        print_json(asdict(check))
    else:
        print_check(check)
