"""A small plot of loss and held-out score over time, drawn in the colours of the window's theme."""

from __future__ import annotations

import math

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_unet.widgets.training.status import TrainingStatus
from napari_unet.words import clock

__all__ = ["TrainingPlot", "nice_ceiling"]

_SCORE_COLOUR = QColor("#2bb58a")
_LOSS_COLOUR = QColor("#e69f00")
_SOLVED_COLOUR = QColor("#56b4e9")


def nice_ceiling(value: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below a value.

    Examples
    --------
    >>> nice_ceiling(0.83), nice_ceiling(1.3), nice_ceiling(37)
    (1.0, 2.0, 50.0)
    """
    if not (value > 0 and math.isfinite(value)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999999))


class TrainingPlot(QWidget):
    """Shows a `TrainingStatus`: the loss against the left axis, the score (0 to 1) against the right one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._status = TrainingStatus()
        self.setMinimumHeight(110)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Loss and score of the training over time")
        self.setToolTip(
            "Loss (what the training lowers) and score (Dice on strokes that are held out from it, 0 to 1) over time.\n"
            "'score at once' is that of the result which is solved from the strokes without training."
        )

    def sizeHint(self) -> QSize:
        """Ask for room for the axes and their numbers."""
        return QSize(280, 118)

    def show_status(self, status: TrainingStatus) -> None:
        """Draw this status from now on."""
        self._status = status
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw frame, axes and both lines."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.82))
        painter.setFont(font)
        metrics = QFontMetrics(font)
        text = self.palette().color(self.foregroundRole())
        faint = QColor(text)
        faint.setAlpha(45)
        top = metrics.height() + 6
        frame = QRectF(34, top, self.width() - 34 - 28, self.height() - top - metrics.height() - 6)
        self._draw_grid(painter, frame, faint)
        seconds = max(10.0, self._status.seconds)
        highest = nice_ceiling(max((loss for _, loss in self._status.loss.points), default=1.0))
        self._draw_numbers(painter, frame, metrics, text, (seconds, highest))
        self._draw_legend(painter, frame, metrics, text)
        if not self._status.loss.points and not self._status.score.points:
            muted = QColor(text)
            muted.setAlpha(120)
            painter.setPen(muted)
            between = QRectF(frame.left(), frame.top() + frame.height() / 4, frame.width(), frame.height() / 4)
            painter.drawText(between, Qt.AlignmentFlag.AlignCenter, "the training shows here")
        self._draw_marks(painter, frame, seconds, faint)
        self._draw_line(painter, frame, self._status.closed_form.points, (seconds, 1.0), _SOLVED_COLOUR)
        self._draw_line(painter, frame, self._status.loss.points, (seconds, highest), _LOSS_COLOUR)
        self._draw_line(painter, frame, self._status.score.points, (seconds, 1.0), _SCORE_COLOUR)
        painter.end()

    def _draw_grid(self, painter: QPainter, frame: QRectF, colour: QColor) -> None:
        painter.setPen(QPen(colour, 1))
        for part in range(5):
            y = frame.top() + frame.height() * part / 4
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))

    def _draw_marks(self, painter: QPainter, frame: QRectF, seconds: float, colour: QColor) -> None:
        painter.setPen(QPen(colour, 1, Qt.PenStyle.DashLine))
        for mark in self._status.marks:
            x = frame.left() + min(1.0, mark / seconds) * frame.width()
            painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))

    def _draw_numbers(
        self, painter: QPainter, frame: QRectF, metrics: QFontMetrics, colour: QColor, scale: tuple[float, float]
    ) -> None:
        seconds, highest = scale
        painter.setPen(colour)
        half = metrics.height() / 2
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        for share in (0.0, 0.5, 1.0):
            y = frame.bottom() - share * frame.height()
            low = QRectF(0, y - half, frame.left() - 5, 2 * half)
            painter.drawText(low, right, f"{share * highest:g}")
            painter.drawText(QRectF(frame.right() + 5, y - half, 28, 2 * half), left, f"{share:g}")
        bottom = QRectF(frame.left(), frame.bottom() + 3, frame.width(), metrics.height())
        painter.drawText(bottom, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(bottom, Qt.AlignmentFlag.AlignRight, clock(seconds))

    def _draw_legend(self, painter: QPainter, frame: QRectF, metrics: QFontMetrics, text: QColor) -> None:
        row = QRectF(frame.left(), 0, frame.width(), metrics.height() + 2)
        painter.setPen(_LOSS_COLOUR)
        painter.drawText(row, Qt.AlignmentFlag.AlignLeft, "loss")
        painter.setPen(_SCORE_COLOUR)
        painter.drawText(row, Qt.AlignmentFlag.AlignRight, "held-out score")
        if self._status.closed_form.points:
            painter.setPen(_SOLVED_COLOUR)
            painter.drawText(row, Qt.AlignmentFlag.AlignHCenter, "score at once")

    def _draw_line(
        self,
        painter: QPainter,
        frame: QRectF,
        points: list[tuple[float, float]],
        scale: tuple[float, float],
        colour: QColor,
    ) -> None:
        if not points:
            return
        places = [
            QPointF(
                frame.left() + min(1.0, x / scale[0]) * frame.width(),
                frame.bottom() - min(1.0, max(0.0, y / scale[1])) * frame.height(),
            )
            for x, y in points
        ]
        painter.setPen(QPen(colour, 1.8))
        painter.drawPolyline(QPolygonF(places))
        if len(places) < 60 and colour is _SCORE_COLOUR:
            painter.setBrush(colour)
            for place in places:
                painter.drawEllipse(place, 1.8, 1.8)
            painter.setBrush(Qt.BrushStyle.NoBrush)
