"""Names of the files that ids become."""

from mechsweep_analysis.render import LONGEST_NAME, file_name


def test_file_names_differ_where_ids_do():
    ids = ["a/b", "a--b", "a b", "a-b", "ä", "ö", "../x", "x", "y" * 400, "y" * 401]
    made = [file_name(name, "delta_loss", "", "head_map") for name in ids]
    assert len(set(made)) == len(ids)
    for name in made:
        assert len(name) <= LONGEST_NAME + 20
        assert "/" not in name and not name.startswith(".")
