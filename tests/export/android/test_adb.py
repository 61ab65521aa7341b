"""The client wrapper, over the real adb and a phone that speaks its protocol."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.android.adb import Adb, AdbError, AdbTimeoutError, DeviceFullError, DeviceLostError
from export.android.device import check_abi, describe, program_abi, properties

HOSTILE = "a; reboot $(touch pwned) `touch pwned` 'y' \"z\" \\ * ~ $HOME & | > pwned\n#.tflite"


@pytest.fixture
def adb(adb_server) -> Adb:
    return Adb(server_port=adb_server.port)


def test_a_missing_program_says_what_to_install():
    with pytest.raises(AdbError, match=r"'no-such-adb' is not found: install adb"):
        Adb("no-such-adb")


def test_lists_the_attached_devices(adb, phone):
    (device,) = adb.devices()
    assert (device.serial, device.state, device.model) == (phone.serial, "device", "Pixel 8")


def test_no_device(adb):
    with pytest.raises(AdbError, match="No Android device is attached"):
        adb.open()


def test_two_devices_and_no_serial_names_both(adb, attach):
    first, second = attach(), attach()
    with pytest.raises(
        AdbError, match=r"Several devices are attached; choose one by --serial"
    ) as e:
        adb.open()
    assert first.serial in str(e.value)
    assert second.serial in str(e.value)
    assert adb.open(second.serial).serial == second.serial


def test_the_environments_serial_counts(adb, attach, monkeypatch):
    attach()
    second = attach()
    monkeypatch.setenv("ANDROID_SERIAL", second.serial)
    assert adb.open().serial == second.serial


def test_an_unknown_serial_names_the_attached_ones(adb, phone):
    with pytest.raises(AdbError, match=r"No attached device has the serial 'x'\. Attached: ") as e:
        adb.open("x")
    assert phone.serial in str(e.value)


def test_an_unauthorised_device_says_to_accept_the_question(adb, attach):
    phone = attach("refuse")
    with pytest.raises(AdbError, match=f"{phone.serial} is unauthorized: unlock it and accept"):
        adb.open()


def test_an_offline_device_says_to_plug_it_in_again(adb, attach):
    phone = attach()
    phone.unplug()
    with pytest.raises(AdbError, match=r"is offline: plug it in again|No Android device"):
        adb.open(phone.serial)


def test_the_shell_tells_output_and_exit_code(adb, phone):
    result = adb.open().shell(["sh", "-c", "printf out; printf err >&2; exit 7"])
    assert (result.stdout, result.stderr, result.returncode) == ("out", "err", 7)


def test_a_failed_checked_command_says_why(adb, phone):
    with pytest.raises(AdbError, match=r"exit code \d+\): .*No such file"):
        adb.open().check_shell(["cat", "/data/local/tmp/none"])


def test_hostile_words_reach_the_program_as_they_stand(adb, phone):
    assert adb.open().check_shell(["printf", "%s|", HOSTILE, "", "-n"]) == f"{HOSTILE}||-n|"
    assert phone.left_over() == []


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=3))
def test_any_words_reach_the_program_as_they_stand(adb, phone, words):
    text = adb.open(phone.serial).check_shell(["printf", "%s\\036", *words])
    expected = "".join(f"{word}\x1e" for word in words) or "\x1e"
    assert text == expected.replace("\r\n", "\n").replace("\r", "\n")  # adb's text output


def test_a_zero_byte_is_refused(adb, phone):
    with pytest.raises(AdbError, match="must hold no zero byte"):
        adb.open().shell(["echo", "a\0b"])


def test_files_go_there_and_back(adb, phone, tmp_path):
    device = adb.open()
    source = tmp_path / "a; touch pwned 'b' $(c)"
    source.write_bytes(os.urandom(700_001))
    device.push(source, "/data/local/tmp/file", 20)
    device.pull("/data/local/tmp/file", tmp_path / "back", 20)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert phone.left_over() == ["file"]


def test_a_push_that_fails_says_why(adb, phone, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    phone.push_failure = "couldn't create file: Permission denied"
    with pytest.raises(AdbError, match=r"Pushing '.*file' to .* failed: .*Permission denied"):
        adb.open().push(tmp_path / "file", "/data/local/tmp/file", 20)


def test_a_full_disk_says_so(adb, phone, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    phone.push_failure = "write failed: No space left on device"
    with pytest.raises(DeviceFullError, match=r"no room for '.*file' \(7 bytes\) .* free some"):
        adb.open().push(tmp_path / "file", "/data/local/tmp/file", 20)


def test_a_missing_file_is_not_pulled(adb, phone, tmp_path):
    with pytest.raises(AdbError, match=r"Pulling /data/local/tmp/none .* failed"):
        adb.open().pull("/data/local/tmp/none", tmp_path / "none", 20)


def test_a_command_that_takes_too_long(adb, phone):
    with pytest.raises(AdbTimeoutError, match=r"did not end within 0\.5 s"):
        adb.open().shell(["sleep", "30"], timeout_s=0.5)


def test_a_device_that_goes_away_is_no_success(adb, phone):
    device = adb.open()
    phone.unplug_on = "sleep"
    with pytest.raises(DeviceLostError, match="went away"):
        device.shell(["sleep", "30"])
    with pytest.raises(DeviceLostError, match="went away"):
        device.check_shell(["true"])


def test_describes_the_device(adb, phone):
    phone.properties["ro.product.model"] = "Pixel\x1b[31m 8"
    device = adb.open()
    about = describe(device, properties(device))
    assert (about.kind, about.name, about.abi) == ("android", "Google Pixel[31m 8", "arm64-v8a")
    assert about.os == "Android 15 (API 35)"
    assert about.serial == phone.serial
    assert about.cpu_count is not None


def elf(width: int, machine: int) -> bytes:
    return (
        b"\x7fELF"
        + bytes([width, 1, 1])
        + bytes(9)
        + (2).to_bytes(2, "little")
        + (machine.to_bytes(2, "little") + bytes(12))
    )


@pytest.mark.parametrize(
    ("width", "machine", "abi"),
    [(2, 183, "arm64-v8a"), (1, 40, "armeabi-v7a"), (2, 62, "x86_64"), (1, 3, "x86")],
)
def test_reads_a_programs_abi(tmp_path, width, machine, abi):
    (tmp_path / "program").write_bytes(elf(width, machine))
    assert program_abi(tmp_path / "program") == abi


def test_this_hosts_own_programs_have_an_abi():
    assert program_abi(os.path.realpath("/bin/sh")) in ("x86_64", "arm64-v8a")


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "program").write_bytes(b"no program at all, only text")
    with pytest.raises(AdbError, match="no program for Android"):
        program_abi(tmp_path / "program")
    (tmp_path / "program").write_bytes(elf(2, 8))
    with pytest.raises(AdbError, match="ELF machine 8, which is no ABI of Android"):
        program_abi(tmp_path / "program")


def test_a_program_for_another_abi_is_refused(adb, phone, tmp_path):
    device = adb.open()
    known = properties(device)
    (tmp_path / "program").write_bytes(elf(2, 62))
    with pytest.raises(AdbError, match=r"built for x86_64, but the device .* runs arm64-v8a,arm"):
        check_abi(tmp_path / "program", device, known)
    (tmp_path / "program").write_bytes(elf(1, 40))
    check_abi(tmp_path / "program", device, known)
