"""operations/configure.py: a configuration is read whole, explained, and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import certificates
from dicomnode.errors import ConfigurationError, Fault
from dicomnode.operations import configure
from dicomnode.operations.ports import Node
from dicomnode.store import audit, generations
from tests import fakes
from tests.certificates import Authority, Identity

HEAD, TAIL = fakes.CONFIG.split("routes:\n")


def written(folder: Path, text: str) -> Path:
    path = folder / "dicomnode.yaml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configure.read(written(folder, text))
    return [str(fault) for fault in caught.value.faults]


def line(text: str, start: str) -> int:
    return next(n for n, each in enumerate(text.splitlines(), 1) if each.strip().startswith(start))


def test_consent_and_recall_are_told(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, consent: required}")
    text = text.replace("port: 104,", "port: 104, iocm: true,", 1)
    told = " ".join(each for _, said in configure.sentences(configure.read(written(tmp_path, text))) for each in said)
    assert "with the patient's recorded consent alone" in told
    assert "PUBPACS is told by a rejection note" in told
    plain = configure.sentences(configure.read(written(tmp_path, fakes.CONFIG)))
    assert not any("recorded consent" in each or "rejection note" in each for _, said in plain for each in said)


def test_who_cannot_be_called_cannot_be_told_of_a_recall(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("may: [store]}", "may: [store], iocm: true}", 1)
    (fault,) = faults(tmp_path, text)
    assert "partners.CT1.iocm: is of no use without host and port" in fault


def test_a_good_configuration_is_read(tmp_path: Path) -> None:
    assert configure.read(written(tmp_path, fakes.CONFIG)).node.ae_title == "REFERNODE"


REVERSE = [
    ("- {name: back, from: [general], to: [RAD_WS]}", "would carry studies of general to RAD_WS of harbour"),
    ("- {name: back, from: [PUBPACS], to: [RAD_WS]}", "no flow allows public -> private"),
    ("- {name: over, from: [harbour], to: [PEAK_WS]}", "no flow allows private -> private"),
    ("- {name: over, from: [harbour, general], to: [ISLPACS]}", "would carry studies of general to ISLPACS of island"),
]


@pytest.mark.parametrize(("route", "text"), REVERSE)
def test_a_reverse_path_is_a_fault_of_its_line(tmp_path: Path, route: str, text: str) -> None:
    config = f"{HEAD}routes:\n  {route}\n"
    (fault,) = faults(tmp_path, config)
    assert fault.startswith(f"line {line(config, '- {name')}: routes.0.to: ")
    assert text in fault


def test_one_endpoint_of_two_sites_is_a_fault(tmp_path: Path) -> None:
    config = fakes.CONFIG.replace("10.8.0.5, port: 104", "10.9.0.5, port: 104")
    (fault,) = faults(tmp_path, config)
    assert fault.startswith(f"line {line(config, 'ISLPACS')}: partners.ISLPACS.host: ")
    assert "same host and port as PUBPACS of general" in fault


def test_a_chain_is_told_with_both_its_lines(tmp_path: Path) -> None:
    flows = "flows: [private -> public, public -> private]\nroutes:\n"
    there = "  - {name: there, from: [harbour], to: [PUBPACS]}\n"
    on = "  - {name: on, from: [general], to: [PEAK_WS]}\n"
    config = HEAD.replace("104, may: [find, move]", "104, may: [store]") + flows + there + on
    (fault,) = faults(tmp_path, config)
    assert fault.startswith(f"line {line(config, '- {name: on')}: routes.1.to: would carry studies of harbour on to")
    assert fault.endswith(f"no flow allows private -> private (line {line(config, '- {name: there')})")


def test_every_breach_is_told_at_once(tmp_path: Path) -> None:
    config = f"{HEAD}routes:\n" + "".join(f"  {route}\n" for route, _ in REVERSE[:1])
    config += "  - {name: again, from: [general], to: [PEAK_WS, RAD_WS]}\n"
    assert len(faults(tmp_path, config)) == 3


def test_other_faults_come_from_the_file(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, fakes.CONFIG.replace("may: [find]", "may: [sing]"))
    assert "partners.ISLPACS" in fault
    with pytest.raises(ConfigurationError, match="there is no file"):
        configure.read(tmp_path / "none")


# -- over TLS --------------------------------------------------------------------------------------------------


def over_tls(identity: Identity) -> str:
    files = f"certificate: {identity.certificate}, key: {identity.key}, ca: {identity.ca}"
    text = fakes.CONFIG.replace("data: ./data", f"data: ./data, tls: {{bind: 127.0.0.1:2762, {files}}}")
    text = text.replace("host: 10.9.0.5, port: 104", "host: 10.9.0.5, port: 2762, tls: true")
    return text.replace("host: 10.2.0.30, port: 11112", "host: 10.2.0.30, port: 11112, tls: true")


def test_what_cannot_be_used_over_tls_is_a_fault_of_its_line(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue("configured"), authority.issue("configured-other")
    assert configure.read(written(tmp_path, over_tls(good))).node.tls
    text = over_tls(Identity(good.certificate, other.key, tmp_path / "none")).replace(", tls: {", ",\n  tls: {")
    assert faults(tmp_path, text) == [f"line {line(text, 'tls:')}: node.tls.ca: there is no file {tmp_path / 'none'}"]
    text = text.replace(str(tmp_path / "none"), str(good.ca))
    assert faults(tmp_path, text) == [f"line {line(text, 'tls:')}: node.tls.key: is not the key of {good.certificate}"]
    assert configure.parse(text, tmp_path / "dicomnode.yaml"), "what is in force can always be read"


def test_who_is_spoken_to_over_tls_is_told(authority: Authority, tmp_path: Path) -> None:
    identity = authority.issue("configured")
    told = sentences(over_tls(identity), tmp_path)
    (paper, _) = certificates.papers(configure.read(written(tmp_path, over_tls(identity))).node.tls)  # type: ignore[arg-type]
    until = certificates.last_day(paper.until)
    assert told["This node"][1:3] == [
        f"Over TLS it answers on 127.0.0.1:2762, with a certificate that is valid until {until}.",
        f"Whoever speaks TLS with it, either way, needs a certificate that {identity.ca} vouches for.",
    ]
    (ws,) = (each for each in told["Who may call"] if each.startswith("PEAK_WS"))
    assert "of peak, over TLS only) may query" in ws
    assert sum("over TLS" in each for each in told["Who may call"]) == 2
    assert "PUBPACS@10.9.0.5:2762 over TLS, General Hospital" in told["What goes where"][0]


# -- warnings and sentences ------------------------------------------------------------------------------------


def test_a_route_that_takes_every_study_is_warned_of(tmp_path: Path) -> None:
    assert list(configure.warnings(fakes.configuration(fakes.CONFIG, tmp_path))) == []
    config = fakes.configuration(fakes.CONFIG.replace("when: {called: TO_GENERAL}, ", ""), tmp_path)
    (warning,) = configure.warnings(config)
    assert warning.startswith("route referrals: every study of harbour that matches leaves, referred or not")


def test_no_routes_are_warned_of(tmp_path: Path) -> None:
    (warning,) = configure.warnings(fakes.configuration(HEAD, tmp_path))
    assert "nothing is sent by itself" in warning


def sentences(text: str, folder: Path) -> dict[str, list[str]]:
    return dict(configure.sentences(fakes.configuration(text, folder)))


def test_a_configuration_is_told_in_sentences(tmp_path: Path) -> None:
    told = sentences(fakes.CONFIG, tmp_path)
    assert told["This node"][0] == "It answers to REFERNODE or TO_GENERAL on 127.0.0.1:11112."
    assert "CT1 (CT1 from 10.1.0.0/24, of harbour) may store." in told["Who may call"]
    (ws,) = (each for each in told["Who may call"] if each.startswith("RAD_WS"))
    assert "may query and retrieve; it sees the studies of harbour, and can move them to " in ws
    assert "PUBPACS" in ws
    assert any("it sees the studies referred to island" in each for each in told["Who may call"])
    (route,) = told["What goes where"]
    for fact in ("harbour", "TO_GENERAL", "PUBPACS@10.9.0.5:104", "General Hospital", "60 seconds"):
        assert fact in route
    never = told["What can never happen"]
    assert "Nothing of general (public) can reach harbour, peak, island." in never
    assert "Nothing of harbour (private) can reach peak." in never
    assert "general (public) can store nothing here: its storage contexts are refused." in never
    assert never[-1].startswith("Nothing flows back")


def test_what_is_made_to_fit_a_partner_is_told(tmp_path: Path) -> None:
    heading = "What is made to fit a partner"
    told = sentences(fakes.CONFIG, tmp_path)
    assert heading not in told
    assert not any("A query" in each for each in told["This node"])
    text = fakes.CONFIG.replace("may: [store]}", "may: [store], charset: big5}", 1)
    text = text.replace("port: 104, may: [find, move]}", "port: 104, may: [], transcode: decompress}", 1)
    text = text.replace("host: 10.2.0.30,", "host: 10.2.0.30, charset: GB18030, transcode: decompress,")
    told = sentences(text.replace("retry_most: 1h", "retry_most: 1h, answers: 500"), tmp_path)
    assert told["This node"][-1] == "A query gets 500 answers at most; where there are more, it is told so."
    assert told[heading] == [
        "Where CT1 declares no character set, or a wrong one, its text is read as big5.",
        "Where PEAK_WS declares no character set, or a wrong one, its text is read as GB18030; it is answered in that.",
        "What PEAK_WS does not take compressed is decompressed for it.",
        "What PUBPACS does not take compressed is decompressed for it.",
    ]


def test_who_may_fetch_is_told(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("port: 104, may: [find]", "port: 104, may: [get]")
    told = sentences(text.replace("port: 11112, may: [find, move]", "port: 11112, may: [find, move, get]"), tmp_path)
    (public,) = (each for each in told["Who may call"] if each.startswith("ISLPACS"))
    assert public.endswith("may fetch to itself; it sees the studies referred to island.")
    assert any("may query, retrieve and fetch to itself; it sees the" in each for each in told["Who may call"])


def test_the_sentences_follow_the_configuration(tmp_path: Path) -> None:
    told = sentences(HEAD + "flows: [private -> public, public -> private]\n", tmp_path)
    assert told["What goes where"][0].startswith("Nothing by itself")
    assert not any("flows back" in each or "harbour can store" in each for each in told["What can never happen"])
    only = fakes.CONFIG.replace("to: [PUBPACS]", "only: {modality: [CT, MR]}, to: [PUBPACS]").replace("60s", "0s")
    (route,) = sentences(only, tmp_path)["What goes where"]
    assert route.endswith("modality CT or MR, image by image.")


def test_how_long_it_keeps_and_how_it_sends_is_told(tmp_path: Path) -> None:
    told = sentences(fakes.CONFIG, tmp_path)
    assert told["This node"][-2:] == [
        "With less than 2 GB free, whoever would store is asked to come later; with less than 500 MB, no instance is"
        " taken.",
        "What was received is kept for ever (there is no `retention`).",
    ]
    proof, held = told["How it is sent, and what proves that it arrived"]
    assert proof.startswith("PUBPACS confirms a study by the strongest proof that it has shown: Storage Commitment")
    assert held == "What PUBPACS does not take for 7 days is held for you to look at."

    text = fakes.CONFIG.replace("data: ./data", "data: ./data, retention: {after: 90d, free: 1.5TB}")
    more = "window: 22:00-06:30, bandwidth: 2MB, skip_classes: 1.2.840.10008.5.1.4.1.1.7, confirm: status, "
    text = text.replace("PUBPACS:  {", "PUBPACS:  {" + more)
    waits = "wait: {CT: 60s, default: 20m}, priority: urgent, expect: {from: RAD_WS, within: 30m}"
    text = text.replace("wait: 60s", waits)
    told = sentences(text, tmp_path)
    assert told["This node"][-1] == (
        "Files of confirmed studies go 90 days after their confirmation or when less than 1.5 TB are free, but for"
        " what it committed to its source; nothing else ever goes."
    )
    assert told["How it is sent, and what proves that it arrived"] == [
        "PUBPACS confirms a study by its answer to each C-STORE alone, by your own word.",
        "PUBPACS is sent instances only from 22:00 to 06:30 and at no more than 2 MB a second.",
        "PUBPACS is never sent Secondary Capture Image Storage.",
        "What PUBPACS does not take for 7 days is held for you to look at.",
    ]
    (route,) = told["What goes where"]
    assert route.endswith(
        "once nothing new came for 60 seconds (CT), 20 minutes (others) and RAD_WS has no more of it (or 30 minutes"
        " have passed), before what is routine."
    )


# -- generations -----------------------------------------------------------------------------------------------


def test_a_reading_is_recorded_faulty_or_not(here: Node) -> None:
    first = configure.record("good", (), 5, here.database)
    second = configure.record("bad", (Fault("node", 3, "is wrong"),), 6, here.database)
    third = configure.record("", (Fault("", 0, "no file"),), 7, here.database)
    assert first < second < third
    with here.database.read():
        found = generations.latest()
        events = [(e.at, e.kind, e.text) for e in audit.events()]
    assert found
    assert (found.id, found.accepted, found.faults) == (third, False, "no file")
    assert events == [
        (5, "configuration in force", f"generation {first}"),
        (6, "configuration refused", "line 3: node: is wrong"),
        (7, "configuration refused", "no file"),
    ]
