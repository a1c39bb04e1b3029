"""The studies of the pilot as modalities make them: small images, each of whom its centre believes it to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dicomnode.cli.pilot_scene import Person, Referred, Wrong, uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLASSES: Final = {  # SOP class, and the side of its image in pixels of 16 bits
    "CT": ("1.2.840.10008.5.1.4.1.1.2", 48),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", 48),
    "US": ("1.2.840.10008.5.1.4.1.1.6.1", 24),
    "CR": ("1.2.840.10008.5.1.4.1.1.1", 64),
    "MG": ("1.2.840.10008.5.1.4.1.1.1.2", 70),
}


def write(folder: Path, all_: Sequence[Referred], at: datetime) -> None:
    """The studies of all referrals, acquired a few minutes before `at`: a folder for each, its images by number."""
    for each in all_:
        place = study(folder, each)
        place.mkdir(parents=True)
        for number, dataset in enumerate(_instances(each, all_, at), 1):
            dataset.save_as(place / f"{number}.dcm", enforce_file_format=True)


def study(folder: Path, of: Referred) -> Path:
    """Where a study lies."""
    return folder / "studies" / f"{of.serial:04}"


def instance_uids(of: Referred) -> tuple[str, ...]:
    """The SOP Instance UIDs of a study, sorted."""
    return tuple(sorted(uid(of.serial, 10 + number) for number in range(1, of.instances + 1)))


def _instances(it: Referred, all_: Sequence[Referred], at: datetime) -> Iterator[Dataset]:
    """The images of a study, with the patient that the modality believes it is of."""
    other = all_[it.serial % len(all_)].person
    person = _mistaken(it.person, other, it.wrong)
    for number in range(1, it.instances + 1):
        strange = it.wrong is Wrong.MIXED and number == it.instances
        yield _image(it, number, other if strange else person, at - timedelta(minutes=5 + it.serial % 50))


def _mistaken(person: Person, other: Person, wrong: Wrong | None) -> Person:
    match wrong:
        case Wrong.BIRTH_DATE:
            return replace(person, birth_date=other.birth_date)
        case Wrong.SEX:
            return replace(person, sex="MF"["FM".index(person.sex)])
        case Wrong.PATIENT:
            return replace(person, hkid=other.hkid)
        case _:
            return person


def _image(it: Referred, number: int, person: Person, at: datetime) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    image, side = Dataset(), _CLASSES[it.centre.modality][1]
    image.SOPClassUID, image.SOPInstanceUID = _CLASSES[it.centre.modality][0], uid(it.serial, 10 + number)
    image.StudyInstanceUID, image.SeriesInstanceUID = it.study_instance_uid, uid(it.serial, 1)
    image.Modality, image.Manufacturer, image.StationName = it.centre.modality, "", it.source
    image.StudyDate = image.SeriesDate = image.ContentDate = f"{at:%Y%m%d}"
    image.StudyTime = image.SeriesTime = image.ContentTime = f"{at:%H%M%S}"
    image.StudyID, image.SeriesNumber, image.InstanceNumber = str(it.serial), 1, number
    image.ReferringPhysicianName = ""
    _of_patient(image, it, person)
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.Rows = image.Columns = side
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelData = bytes(2 * side * side)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def _of_patient(image: Dataset, it: Referred, person: Person) -> None:
    """The patient as the centre writes it down, and the referral: its number from a bar code, or the centre's own."""
    from pydicom.dataset import Dataset

    letters_only = it.centre.number % 3 == 0
    image.SpecificCharacterSet = "ISO_IR 100" if letters_only else "ISO_IR 192"
    image.PatientName = person.name.partition("=")[0] if letters_only else person.name
    image.PatientID = person.hkid if it.centre.writes_hkid else person.local
    if it.centre.writes_hkid:
        image.IssuerOfPatientID = "HKID"
    image.PatientBirthDate, image.PatientSex = person.birth_date, person.sex
    image.AccessionNumber = it.accession_number
    if it.serial % 2:
        image.AccessionNumber = ""
        asked = Dataset()
        asked.RequestedProcedureID = it.number
        image.RequestAttributesSequence = [asked]
