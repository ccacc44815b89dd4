"""What people do to commands: other terminals, other devices, odd names, two runs at a time."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from checks import command
from conftest import ROOT, call, in_python
from mnist_course import commands
from mnist_course.checkpoints import load_model, save_model
from mnist_course.cli import mnist_predict, mnist_test, mnist_train
from mnist_course.results import check_learned, typed_path
from mnist_course.showing import images_in

SEVEN = ROOT / 'test_images' / 'my_digit_7.png'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# which files


def test_a_folder_passes_no_image_over_without_a_word(folder, capsys):
    Image.open(SEVEN).save(folder / 'good_7.jfif', 'JPEG')
    (folder / 'IMG_0.HEIC').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
    (folder / '._good_7.jfif').write_bytes(b'of macOS')
    (folder / 'a_folder_3.png').mkdir()
    (folder / 'notes.txt').write_text('no image')
    assert [p.name for p in images_in(folder)] == ['IMG_0.HEIC', 'good_7.jfif']
    assert mnist_test([str(folder)]) == 1
    said = capsys.readouterr()
    assert '7' in said.out and 'right' in said.out
    assert said.err.count('\n') == 1 and 'IMG_0.HEIC' in said.err and 'JPEG or PNG' in said.err


@pytest.mark.parametrize('name', ['~draft_5.png', 'my digit 5.png', "it's 5.png", '~', 'a\\b.png'])
def test_a_name_as_it_was_typed_comes_first(name, folder):
    if os.name == 'nt' and '\\' in name:
        pytest.skip('Windows: a backslash is no letter of a name')
    (folder / name).write_bytes(b'')
    assert typed_path(name) == typed_path(f'"{name}"') == typed_path(f' {name}')
    assert typed_path(name).name == name


@pytest.mark.skipif(os.name == 'nt', reason='Windows: backslashes are separators')
def test_a_path_dragged_into_a_terminal_of_macos_is_found(folder):
    (folder / 'my digit (5).png').write_bytes(b'')
    assert typed_path('my\\ digit\\ \\(5\\).png').exists()


def test_without_a_home_a_tilde_is_a_sentence(folder, monkeypatch, capsys):
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
    lines = iter(['~nobody/5.png', ''])
    monkeypatch.setattr('builtins.input', lambda prompt: next(lines))
    assert mnist_predict(['--device', 'cpu']) == 0
    assert 'there is no file ~nobody' in capsys.readouterr().out


# which terminal


def ascii_only(*line, cwd, encoding='ascii'):
    return subprocess.run(
        [command(line[0]), *map(str, line[1:])],
        cwd=cwd,
        env={**os.environ, 'PYTHONIOENCODING': encoding, 'PYTHONUTF8': '0'},
        capture_output=True,
        timeout=300,
    )


@pytest.mark.skipif(sys.platform == 'win32', reason='Windows: file names are Unicode')
def test_names_that_a_terminal_cannot_show_do_not_lose_the_answers(folder):
    for name in (b'a_7.png', b'K\xf6nig_7.png', '数字_7.png'.encode()):
        with open(os.fsencode(folder) + b'/' + name, 'wb') as file:
            file.write(SEVEN.read_bytes())
    done = ascii_only('mnist_test', folder, cwd=folder, encoding='ascii')
    assert done.returncode == 0, done.stderr
    assert b'3 of 3 right' in done.stdout


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp437'])
def test_help_is_printed_in_any_encoding(encoding, folder):
    done = ascii_only('mnist_train', '--help', cwd=folder, encoding=encoding)
    assert done.returncode == 0 and b'--epochs' in done.stdout and done.stderr == b''


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no SIGPIPE')
def test_a_reader_who_has_seen_enough_ends_it_quietly(folder):
    code = 'import sys; from mnist_course.commands import command\n'
    code += '@command\ndef talk(argv=None):\n    for i in range(100_000):\n        print(i)\n'
    code += 'sys.exit(talk([]))'
    talk = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder
    )
    talk.stdout.readline()
    talk.stdout.close()
    assert talk.stderr.read() == b''
    talk.stderr.close()
    assert talk.wait(60) == commands.PIPE_CLOSED


def test_json_says_on_standard_error_which_network_answered(folder, capsys):
    assert mnist_test(['--json', str(SEVEN)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]['digit'] == 7
    assert 'the network that ships with the package' in said.err


def test_process_number_one_hears_sigterm(monkeypatch):
    heard = {}
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    monkeypatch.setattr(signal, 'signal', heard.__setitem__)
    commands.prepare_process()
    with pytest.raises(SystemExit) as e:
        heard[signal.SIGTERM](signal.SIGTERM, None)
    assert e.value.code == commands.TERMINATED


# which device


def test_a_device_that_is_none_is_bad_usage_and_one_that_is_missing_a_failure(folder, capsys):
    with pytest.raises(SystemExit) as e:
        mnist_test(['--device', 'abacus', str(SEVEN)])
    assert e.value.code == 2
    assert mnist_test(['--device', 'cuda:99', str(SEVEN)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("mnist_test: the device 'cuda:99' cannot be used here")
    assert said.endswith('try cpu')


@pytest.mark.parametrize(
    'name', ['mnist_train', 'mnist_test', 'mnist_predict', 'mnist_visualize', 'mnist_export']
)
def test_every_command_that_computes_takes_a_device(name, folder):
    assert '--device' in call(name, '--help', cwd=folder).stdout


def test_a_card_that_gives_up_is_one_sentence(capsys):
    @commands.command
    def mnist_some(argv=None):
        raise RuntimeError('CUDA error: no kernel image is available\nCompile with …')

    assert mnist_some([]) == 1
    said = capsys.readouterr().err
    assert said == 'mnist_some: CUDA error: no kernel image is available: try --device cpu\n'


# two runs, and runs that learn nothing


def test_two_runs_in_one_folder_both_end_well(folder):
    runs = [
        subprocess.Popen(
            [command('mnist_train'), '--quick', '--json', '--out', 'd'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
        )
        for _ in range(2)
    ]
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
        assert json.loads(out)['files']
    left = sorted(p.name for p in (folder / 'd').iterdir())
    assert left == ['mnist_model.pth', 'predictions.png', 'training_history.png']


def test_a_checkpoint_that_is_gone_in_the_end_is_no_failure(folder, monkeypatch):
    import mnist_course.training_run as training_run

    def gone(*args, **options):
        (folder / 'mnist_checkpoint.pth').unlink()
        return written(*args, **options)

    written = training_run.write_results
    monkeypatch.setattr(training_run, 'write_results', gone)
    assert mnist_train(['--quick']) == 0


def test_a_run_that_learned_nothing_does_not_replace_a_network(folder):
    path = folder / 'mnist_model.pth'
    check_learned(0.1, path)  # nothing to lose
    path.write_bytes(b'good')
    check_learned(0.9, path)
    with pytest.raises(ValueError, match='learned next to nothing .*kept as it was'):
        check_learned(0.1, path)


def test_the_next_line_can_be_pasted_where_names_have_spaces(folder, capsys):
    assert mnist_train(['--quick', '--out', 'runs of mine']) == 0
    following = capsys.readouterr().out.strip().splitlines()[-1]
    assert "--model 'runs of mine" in following


def test_threads_that_were_asked_for_are_taken_and_kept(folder, capsys):
    assert mnist_train(['--quick', '--threads', '1']) == 0
    assert 'threads 1' in capsys.readouterr().out
    header = load_model('mnist_model.pth', 'cpu').header
    assert header['threads'] == 1 and header['config'] == {'dropout': 0.5, 'classes': 10}


@pytest.mark.parametrize('value', ['0', '-1', 'many'])
def test_no_threads_are_bad_usage(value, folder):
    with pytest.raises(SystemExit) as e:
        mnist_train(['--quick', '--threads', value])
    assert e.value.code == 2


def test_variables_of_torchrun_that_make_no_sense_are_a_sentence(folder, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '')
    monkeypatch.setenv('WORLD_SIZE', 'two')
    assert mnist_train(['--quick']) == 1
    assert 'torchrun sets both' in capsys.readouterr().err
    monkeypatch.setenv('WORLD_SIZE', '')
    assert mnist_train(['--quick', '--json']) == 0


def test_a_run_of_several_processes_is_not_resumed(folder, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit) as e:
        mnist_train(['--quick', '--resume'])
    assert e.value.code == 2
    assert 'without torchrun' in capsys.readouterr().err.splitlines()[-1]


def test_going_on_without_a_checkpoint_starts_at_the_beginning(folder, capsys):
    assert mnist_train(['--quick', '--resume', '--threads', '1']) == 0
    assert 'there is no mnist_checkpoint.pth to go on from' in capsys.readouterr().out
    assert (folder / 'mnist_model.pth').exists()


def test_mistakes_are_drawn_where_there_are_any(folder):
    assert mnist_test(['--mistakes', 'none.png', str(SEVEN)]) == 0
    assert not (folder / 'none.png').exists()
    (folder / 'my_digit_1.png').write_bytes(SEVEN.read_bytes())
    assert mnist_test(['--mistakes', 'drawn.png', 'my_digit_1.png']) == 0
    Image.open(folder / 'drawn.png').verify()


# a server that is copied after its first answer


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no fork')
def test_a_server_copied_after_its_first_answer_answers(folder):
    code = f"""
import os, sys, torch
torch.set_num_threads(1)
from mnist_course.serve import create_app
client = create_app().test_client()
photo = open({str(SEVEN)!r}, 'rb').read()
assert client.post('/api/predict', data=photo).json['digit'] == 7
child = os.fork()
if child == 0:
    os._exit(client.post('/api/predict', data=photo).json['digit'])
status = os.waitpid(child, 0)[1]
print(os.waitstatus_to_exitcode(status))
"""
    done = in_python(code, folder)
    assert done.stdout.strip() == '7', done.stderr


def test_a_file_of_weights_of_the_first_version_is_used_by_the_commands(folder, capsys):
    model = load_model(device='cpu')
    path = save_model(model, folder / 'mnist_model.pth', accuracy=np.float64(0.99))
    content = torch.load(path, weights_only=True)
    content['recipe'] = {**content['recipe'], 'dropout': content.pop('config')['dropout']}
    torch.save(content, path)
    assert mnist_test([str(SEVEN)]) == 0
    assert 'model: mnist_model.pth' in capsys.readouterr().out
