from __future__ import annotations

import pytest
from napari.utils.shortcuts import default_shortcuts
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_unet.errors import InputError
from napari_unet.widgets.annotate.class_list import ClassList
from napari_unet.widgets.annotate.class_table import ClassTable, choose_keys


def test_no_key_is_one_that_napari_uses() -> None:
    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    keys = choose_keys(taken)
    assert not taken & set(keys)
    assert keys[:2] == ("Q", "W")


def test_classes_are_added_renamed_and_removed_from_the_end() -> None:
    table = ClassTable()
    assert table.add() == 2
    assert table.add("membrane") == 3
    assert len(set(table.colours)) == 4
    table.rename(1, " cell ")
    assert table.names == ("background", "cell", "class 3", "membrane")
    with pytest.raises(InputError, match="Remove 'membrane' first"):
        table.remove(2)
    table.remove(3)
    table.remove(2)
    with pytest.raises(InputError, match="always there"):
        table.remove(1)


@pytest.mark.parametrize("name", ["", "  ", "background"])
def test_a_name_must_be_there_and_be_the_only_one(name: str) -> None:
    table = ClassTable()
    with pytest.raises(InputError):
        table.rename(1, name)
    assert table.names == ("background", "foreground")


def test_the_names_of_a_model_are_taken_over_and_colours_stay() -> None:
    table = ClassTable()
    table.recolour(1, "#123456")
    table.replace_all(("ground", "cell", "edge"))
    assert table.names == ("ground", "cell", "edge")
    assert table.colours[1] == "#123456"
    table.replace_all(("a", "b"))
    assert table.names == ("a", "b")


def test_a_click_chooses_and_a_double_click_renames(qtbot: QtBot) -> None:
    widget = ClassList(ClassTable())
    qtbot.addWidget(widget)
    widget.set_keys(("Q", "W"))
    widget.show()
    row = widget.rows[1]
    assert row.key.text() == "W"
    with qtbot.waitSignal(widget.chosen) as chosen:
        QTest.mouseClick(row.name, Qt.MouseButton.LeftButton)  # the name lets clicks through to its row
        QTest.mouseClick(row, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(60, 8))
    assert chosen.args == [1]
    QTest.mouseDClick(row, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(60, 8))
    assert not row.name.isReadOnly()
    with qtbot.waitSignal(widget.changed):
        row.name.setText("nucleus")
        QTest.keyClick(row.name, Qt.Key.Key_Return)
    assert widget.table.names == ("background", "nucleus")


def test_a_name_that_can_not_be_is_said_and_the_old_one_comes_back(qtbot: QtBot) -> None:
    widget = ClassList(ClassTable())
    qtbot.addWidget(widget)
    with qtbot.waitSignal(widget.problem) as problem:
        widget.rows[1].renamed.emit(1, "background")
    assert "already a class called 'background'" in problem.args[0]
    assert widget.rows[1].name.text() == "foreground"


def test_only_two_classes_show_where_objects_are_sought(qtbot: QtBot) -> None:
    widget = ClassList(ClassTable())
    qtbot.addWidget(widget)
    widget.add_button.click()
    assert len(widget.rows) == 3
    widget.show_only(2)
    assert len(widget.rows) == widget.shown == 2
    assert widget.add_button.isHidden()
    widget.show_only(None)
    assert len(widget.rows) == 3
    widget.rows[2].remove.click()
    assert len(widget.table) == 2
