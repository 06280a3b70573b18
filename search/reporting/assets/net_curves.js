// Robustness curve and training curves of the chosen net.

const curves = (trial) => {
  const box = make("div", { class: "columns" });
  if (trial.curve)
    box.append(
      make(
        "div",
        {},
        make("h4", {}, "Robustness curve"),
        robustness(trial),
        make(
          "p",
          { class: "note" },
          `Measured in ${trial.source || "the search"}. Thin lines are the other nets of the front.`,
        ),
      ),
    );
  if (trial.epochs)
    box.append(
      make(
        "div",
        {},
        make("h4", {}, "Training curves"),
        training(trial),
        make(
          "p",
          { class: "note" },
          "Validation images, under a quick attack. The diamond is the epoch that was kept; a fall after it is robust overfitting.",
        ),
      ),
    );
  return box.children.length ? [box] : [make("p", { class: "none" }, "No curve was recorded.")];
};

const robustness = (trial) => {
  const others = data.front
    .map((n) => byNumber.get(n))
    .filter((t) => t && t.n !== trial.n && t.curve);
  const traces = others.map((t) => ({
    x: t.curve.map((r) => r[0]),
    y: t.curve.map((r) => r[1]),
    mode: "lines",
    line: { color: "#d5d9de", width: 1.5 },
    hovertemplate: `trial ${t.n}<extra></extra>`,
  }));
  traces.push({
    x: trial.curve.map((r) => r[0]),
    y: trial.curve.map((r) => r[1]),
    error_y: bars(trial.curve),
    mode: "lines+markers",
    line: { color: "#0072B2", width: 2.5 },
    marker: { size: 7 },
    hovertemplate: `trial ${trial.n}, eps %{x:.4g}: %{y:.1f} %<extra></extra>`,
  });
  const ticks = trial.curve.map((r) => r[0]);
  const pixels = ticks.every((eps) => Math.abs(255 * eps - Math.round(255 * eps)) < 1e-3);
  const ends = [trial, ...others].flatMap((t) => t.curve.flatMap((r) => [r[2], r[3]]));
  if (data.chance) ends.push(data.chance - 2, data.chance + 2);
  const layout = {
    xaxis: {
      title: { text: "Attack strength eps (0: no attack)" },
      ...(pixels ? { tickvals: ticks, ticktext: ticks.map(asRadius) } : {}),
    },
    yaxis: {
      title: { text: "Accuracy (%)" },
      range: [Math.max(0, Math.min(...ends) - 2), Math.min(101, Math.max(...ends) + 2)],
    },
  };
  if (data.chance) {
    layout.shapes = [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: data.chance,
        y1: data.chance,
        line: { color: "#9aa1a9", dash: "dash", width: 1 },
      },
    ];
    layout.annotations = [
      {
        text: "chance",
        xref: "paper",
        x: 0.01,
        y: data.chance,
        yanchor: "bottom",
        xanchor: "left",
        showarrow: false,
        font: { color: "#5b6570", size: 12 },
      },
    ];
  }
  return plot(
    "chosen-curve",
    `Line: accuracy of trial ${trial.n} against attack strength`,
    traces,
    layout,
  );
};

const training = (trial) => {
  const line = (column, name, colour, dash) => ({
    x: trial.epochs.map((r) => r[0]),
    y: trial.epochs.map((r) => r[column]),
    name,
    mode: trial.epochs.length > 1 ? "lines" : "markers",
    line: { color: colour, width: 2, dash },
    marker: { color: colour },
    hovertemplate: `${name}, epoch %{x}: %{y:.1f} %<extra></extra>`,
  });
  const traces = [
    line(1, "natural", "#0072B2", "solid"),
    line(2, "under attack", "#D55E00", "dash"),
  ];
  const kept = trial.epochs.find((row) => row[0] === trial.kept);
  if (kept)
    traces.push({
      x: [kept[0], kept[0]],
      y: [kept[1], kept[2]],
      mode: "markers",
      name: "kept epoch",
      marker: { symbol: "diamond", size: 11, color: "#1c2128" },
      hovertemplate: "kept: epoch %{x}<extra></extra>",
    });
  const shapes = (trial.over || []).map((epoch) => ({
    type: "rect",
    yref: "paper",
    y0: 0,
    y1: 1,
    x0: epoch - 0.5,
    x1: epoch + 0.5,
    fillcolor: "#D55E00",
    opacity: 0.15,
    line: { width: 0 },
  }));
  return plot(
    "chosen-training",
    `Lines: validation accuracy of trial ${trial.n} by epoch`,
    traces,
    {
      shapes,
      showlegend: true,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
      margin: { l: 58, r: 14, t: 34, b: 48 },
      xaxis: { title: { text: "Epoch" } },
      yaxis: { title: { text: "Accuracy (%)" } },
    },
  );
};
