"""Copies of what scores a candidate, in folders that it may read, are found and left out."""

from archloop.sandbox.hidden_files import hidden_folders, without


def folders(root, *names: str) -> list[str]:
    for name in names:
        (root / name).mkdir(parents=True)
    return [str(root / name) for name in names]


def test_the_sources_of_data_sets_are_found_wherever_python_has_its_packages(tmp_path):
    source = "sklearn/datasets"
    venv, debian, images = folders(
        tmp_path,
        f"venv/lib/python3.11/site-packages/{source}",
        f"usr/lib/python3/dist-packages/{source}",
        "usr/share/datasets/fashion-mnist",
    )
    (tmp_path / "venv/lib64").symlink_to("lib")
    readable = [str(tmp_path / name) for name in ("venv/lib", "venv/lib64", "usr")]
    assert hidden_folders(readable) == sorted([venv, debian, images])
    assert hidden_folders([f"{tmp_path}/venv/lib/python3.11/site-packages"]) == [venv]
    assert hidden_folders([f"{tmp_path}/venv/bin"]) == []


def test_a_link_where_a_source_would_be_is_no_folder(tmp_path):
    (packages,) = folders(tmp_path, "packages")
    folders(tmp_path, "elsewhere", "packages/sklearn")
    (tmp_path / "packages" / "sklearn" / "datasets").symlink_to(tmp_path / "elsewhere")
    assert hidden_folders([packages]) == []


def test_all_else_of_a_folder_stays_readable_and_no_link_leads_to_what_is_hidden(tmp_path):
    names = [f"lib/packages/{name}" for name in ("sklearn/datasets", "torch", "sklearn/other")]
    hidden, torch, other = folders(tmp_path, *names)
    packages = tmp_path / "lib/packages"
    (packages / "sklearn/datasets/labels").touch()
    (packages / "link").symlink_to(hidden)
    (packages / "deep").symlink_to(f"{hidden}/labels")
    (tmp_path / "lib64").symlink_to("lib")
    kept, listed = without([str(tmp_path / "lib64"), str(tmp_path / "lib")], [hidden])
    assert kept == sorted([torch, other])
    assert listed == [str(tmp_path / "lib"), str(packages), str(packages / "sklearn")]
    assert without([torch], [hidden]) == ([torch], [])
