from hqsim.report.manifest import ManifestLine, manifest_lines


def test_nested_parts_are_indented_under_their_key():
    manifest = {
        "seed": 0,
        "recipe": {"name": "hqdm", "first": {"bits": 8}},
        "hardware": ["a", "b"],
        "inputs": [{"path": "x"}, {"path": "y"}],
        "nothing": None,
        "empty": {},
    }
    assert manifest_lines(manifest) == tuple(
        ManifestLine(*line)
        for line in (
            (0, "seed", "0"),
            (0, "recipe", None),
            (1, "name", "hqdm"),
            (1, "first", None),
            (2, "bits", "8"),
            (0, "hardware", "a, b"),
            (0, "inputs", None),
            (1, "0", None),
            (2, "path", "x"),
            (1, "1", None),
            (2, "path", "y"),
            (0, "nothing", ""),
            (0, "empty", ""),
        )
    )
