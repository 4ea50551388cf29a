// Draws a trade: candles, fills as marks, stop and targets as stepped lines, the mark price.
(() => {
  "use strict";
  const box = document.getElementById("chart");
  const note = document.getElementById("chart-note");
  const list = document.getElementById("levels");
  const REFRESH_MS = 10000;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colours = dark
    ? { text: "#f3f4f6", grid: "#374151", back: "#111827", up: "#4ade80", down: "#fca5a5", stop: "#fca5a5", target: "#4ade80" }
    : { text: "#1f2937", grid: "#e5e7eb", back: "#ffffff", up: "#15703a", down: "#b91c1c", stop: "#b91c1c", target: "#15703a" };
  const lib = LightweightCharts;
  let chart = null;

  const draw = (data) => {
    if (chart) {
      chart.remove();
    }
    chart = lib.createChart(box, {
      autoSize: true,
      layout: { background: { color: colours.back }, textColor: colours.text, attributionLogo: false },
      grid: { vertLines: { color: colours.grid }, horzLines: { color: colours.grid } },
      timeScale: { timeVisible: true, rightOffset: 6 },
    });
    const candles = chart.addSeries(lib.CandlestickSeries, {
      upColor: colours.up, downColor: colours.down, wickUpColor: colours.up, wickDownColor: colours.down, borderVisible: false,
    });
    candles.setData(data.candles);
    const marks = data.fills.map((fill) => ({
      time: fill.time,
      position: fill.buyer ? "belowBar" : "aboveBar",
      shape: fill.buyer ? "arrowUp" : "arrowDown",
      color: fill.entry ? colours.text : colours.down,
      text: `${fill.entry ? "entry" : "exit"} ${fill.quantity} at ${fill.price}`,
    }));
    lib.createSeriesMarkers(candles, marks);
    for (const level of data.levels) {
      const color = level.name === "stop" ? colours.stop : colours.target;
      const line = chart.addSeries(lib.LineSeries, {
        color, lineWidth: 2, lineType: lib.LineType.WithSteps, title: level.name, priceLineVisible: false,
      });
      line.setData(level.points);
    }
    if (data.mark !== null) {
      candles.createPriceLine({ price: data.mark, color: colours.text, lineStyle: lib.LineStyle.Dotted, title: "mark" });
    }
    chart.timeScale().fitContent();
    list.replaceChildren(...data.levels.map((level) => {
      const item = document.createElement("li");
      item.textContent = `${level.name}: ${level.steps.join(", then ")}`;
      return item;
    }));
    note.textContent = data.note;
    box.dataset.drawn = String(data.candles.length);
    return data.mark !== null;
  };

  const load = async () => {
    try {
      const answer = await fetch(box.dataset.url, { headers: { Accept: "application/json" } });
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      if (draw(await answer.json())) {
        setTimeout(load, REFRESH_MS);
      }
    } catch (error) {
      note.textContent = `The chart cannot be shown: ${error.message}.`;
    }
  };
  load();
})();
