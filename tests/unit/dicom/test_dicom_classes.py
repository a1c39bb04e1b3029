"""dicom/classes.py: the kinds of SOP class and transfer syntax."""

import pytest
from pydicom.uid import UID_dictionary

from dicomnode.dicom import classes


def test_every_storage_class_of_the_dictionary_is_there_and_nothing_else() -> None:
    known = classes.STORAGE_CLASSES & set(UID_dictionary)
    assert classes.STORAGE_CLASSES - known == {"1.2.840.10008.5.1.4.1.1.66.7"}  # newer than the dictionary
    named = {uid for uid in known if UID_dictionary[uid][0]}
    assert len(named) == 204
    assert sum(UID_dictionary[uid][3] == "Retired" for uid in named) == 20
    assert len(known) == 206
    assert "1.2.840.10008.1.20.1" not in classes.STORAGE_CLASSES
    assert "1.2.840.10008.1.3.10" not in classes.STORAGE_CLASSES
    assert all(UID_dictionary[uid][1] == "SOP Class" for uid in known)


def test_non_patient_classes_are_storage_classes() -> None:
    assert classes.NON_PATIENT_CLASSES < classes.STORAGE_CLASSES
    names = " ".join(classes.class_name(uid) for uid in classes.NON_PATIENT_CLASSES)
    assert all(word in names for word in ("Hanging", "Palette", "Implant", "Defined Procedure", "Inventory"))
    assert "Image" not in names


def test_transfer_syntaxes_hold_the_plain_ones_and_no_deflated_one() -> None:
    offered = set(classes.TRANSFER_SYNTAXES)
    assert len(offered) == len(classes.TRANSFER_SYNTAXES)
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.203"} <= offered
    assert not offered & classes.DEFLATED
    assert not offered & {"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2", "1.2.840.10008.1.2.7.1"}


def test_every_deflated_syntax_of_the_dictionary_is_known_as_such() -> None:
    named = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax" and "Deflate" in entry[0]}
    assert named - {"1.2.840.10008.1.2.8.1"} == classes.DEFLATED  # of that one the frames are deflated, not the dataset


def test_names() -> None:
    assert classes.class_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert classes.class_name("1.2.3.4") == "1.2.3.4"
    assert classes.class_name("1.2.840.10008.5.1.4.1.1.40") == "1.2.840.10008.5.1.4.1.1.40"
    assert classes.syntax_name("1.2.840.10008.1.2.4.112") == "JPEG XL"


@pytest.mark.parametrize("uid", ["1", "1.2.3", "1.02.3", "0.0", "1" * 64])
def test_valid_uids(uid: str) -> None:
    assert classes.is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        ".",
        "..",
        "1.",
        ".1",
        "1..2",
        "1.2 ",
        "1.2\n",
        "1" * 65,
        "1.a",
        "../../x",
        "/etc",
        "1\\2",
        "1.٢",
        "%s",
        "1\0",
    ],
)
def test_invalid_uids(uid: str) -> None:
    assert not classes.is_valid_uid(uid)
