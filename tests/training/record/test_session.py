"""Games of one session: every key as it was pressed, and none lost, however it is ended."""

from pathlib import Path

from nle import dataset, nethack

from training.record.nethack.folder import verify, xlog_rows
from training.record.nethack.session import Rules, Session

NEVER = lambda: False  # noqa: E731
IGNORE = lambda steps: None  # noqa: E731


class Script:
    """A player that presses the keys it is given, then waits."""

    keys = ("tty_chars",)

    def __init__(self, text):
        self.text = text
        self.sent = []

    def begin(self, seed):
        self.sent = []

    def act(self, observation):
        index = len(self.sent)
        key = ord(self.text[index]) if index < len(self.text) else ord("s")
        self.sent.append(key)
        return [int(action) for action in nethack.ACTIONS].index(key)


def read_back(out, tmp_path, length=4096):
    """file name -> what nle.dataset gives of each game, without padding."""
    db = str(tmp_path / "read.db")
    dataset.db.create(filename=db)
    dataset.add_nledata_directory(str(out), "games", filename=db)
    loader = dataset.TtyrecDataset("games", batch_size=1, seq_length=length, dbfilename=db, shuffle=False)
    games = {}
    for game in loader._gameids:
        (batch, *rest) = loader.get_ttyrec(game)
        assert not any((part["gameids"] == game).any() for part in rest)
        held = batch["gameids"][0] == game
        games[Path(loader.get_paths(game)[0]).name] = {name: array[0][held] for name, array in batch.items()}
    return games


def test_keys_and_scores_come_back_through_nle_dataset(tmp_path):
    script = Script("hjkl.s20s:i\x1b<>yubn")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=1, max_episode_steps=60), script)
    row = recording.play(0, 0, None, NEVER, IGNORE)
    sent = list(script.sent)
    recording.close()
    game = read_back(tmp_path, tmp_path)[row.file]
    keys = game["keypresses"].tolist()
    assert row.steps == len(sent) == 60
    start = next(at for at in range(5) if keys[at : at + 60] == sent)  # NLE itself presses a few keys at the start
    assert keys[start + 60 : start + 65] == [27, 27, 27, nethack.Command.QUIT, ord("y")]
    assert game["scores"].max() == row.score
    assert row.death == "quit"
    assert bytes(game["tty_chars"][start][22]).strip().startswith(b"Agent the Candidate")


# Each leaves the game waiting for something: a direction, a count, an item, a name, a menu, a yes or no, more text.
OPEN_ENDS = {
    "direction": "o",
    "kick": "\x04",
    "count": "20",
    "item": "e",
    "call": "C",
    "engraving": "E-",
    "menu": "i",
    "extended": "#",
    "travel": "_",
    "look": ";",
    "really quit": chr(nethack.Command.QUIT),
    "pray": chr(nethack.Command.PRAY),
    "options": "O",
    "drop": "D",
    "prefix": "F",
    "history": "V",
}


def test_no_game_is_lost_in_the_middle_of_a_prompt(tmp_path):
    """One session, a game cut off in each kind of prompt: all have their row and their recording, in order."""
    script = Script("")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=2, max_episode_steps=10**6), script)
    rows = []
    for number, text in enumerate(OPEN_ENDS.values()):
        script.text = text
        rows.append(recording.play(0, number, len(text), NEVER, IGNORE))
    recording.close()
    assert [row.cut_off for row in rows] == ["steps"] * len(rows)
    assert [row.death for row in rows] == ["quit"] * len(rows)
    (log,) = tmp_path.glob("*/*.xlogfile")
    assert [row["ttyrecname"] for row in xlog_rows(log)] == [row.file for row in rows]
    assert verify(tmp_path)[0] == len(OPEN_ENDS)


def test_a_player_cannot_save_the_game_away(tmp_path):
    script = Script("SySySy")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=3, max_episode_steps=40), script)
    row = recording.play(0, 0, None, NEVER, IGNORE)
    recording.close()
    assert row.steps == 40
    assert verify(tmp_path)[0] == 1


def test_a_game_that_stands_still_is_ended(tmp_path):
    rules = Rules(task="mon-hum-neu-mal", seed=4, max_episode_steps=10**6, no_progress=30)
    recording = Session(tmp_path, rules, Script("i" + "\x04\x1b" * 100))
    assert recording.play(0, 0, None, NEVER, IGNORE).cut_off == "stuck"
    recording.close()
    assert verify(tmp_path)[0] == 1
