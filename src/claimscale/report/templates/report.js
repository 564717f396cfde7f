"use strict";
// Draws the figures of the page from the numbers in #data, for the task, metric and test set that are chosen.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const t = (text, values = {}) =>
    (data.texts[text] ?? text).replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
  const SVG = "http://www.w3.org/2000/svg";
  const METRICS = { auprc: 6, auroc: 9, log_loss: 12, calibration: 15 }; // first column of each in a row
  const [ARM, SIZE, SPLIT, PATIENTS, SEEDS, SECONDS] = [0, 1, 2, 3, 4, 5];
  let room = 440; // pixels across, of the current figure
  const chosen = { task: 0, metric: data.metric, split: data.splits[0] };

  // Numbers for reading; the same rules as the page's tables.
  const figure = (value, decimals = 3) =>
    value === null || value === undefined ? "–" : ((Math.round(value * 10 ** decimals) || 0) / 10 ** decimals)
      .toFixed(decimals).replace("-", "−");
  const count = (value) => (value === null || value === undefined ? "–"
    : typeof value === "string" ? value : Math.round(value).toLocaleString("en-US"));
  const percent = (value) => (value === null ? "–" : `${Number((100 * value).toPrecision(3))} %`);
  // From a thousand up in full, below with so many digits.
  const short = (value, most) => (Math.abs(value) >= 999.5 ? count(value) : String(Number(value.toPrecision(most))));
  const duration = (hours) => (hours >= 1 ? t("{n} hours", { n: short(hours, 3) })
    : hours >= 1 / 60 ? t("{n} minutes", { n: short(60 * hours, 2) }) : t("{n} seconds", { n: short(3600 * hours, 2) }));
  const compact = (value) => {
    const units = ["", "k", "M", "G", "T", "P", "E"];
    let unit = 0;
    for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1000;
    return `${short(value, 3)}${units[unit]}`;
  };
  const span = ([estimate, low, high]) => (low === null ? `${figure(estimate)} ${t("(no interval)")}`
    : `${figure(estimate)} (${figure(low)} ${t("to")} ${figure(high)})`);

  const element = (name, attributes = {}, ...children) => {
    const made = ["svg", "g", "line", "path", "circle", "text", "rect", "title"].includes(name)
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // A long name keeps its begin and its end, for names of a kind differ in one of them.
  const brief = (words, most = 15) => {
    const signs = [...words];
    return signs.length <= most ? words : `${signs.slice(0, most - 7).join("")}…${signs.slice(-6).join("")}`;
  };
  const breadth = (words) => [...words].reduce((sum, sign) => sum + (sign > "\u2e80" ? 12 : 7.2), 0); // roughly, in pixels

  // ---- The tip: what a point stands for, on hover and on focus ----
  const tip = element("div", { id: "tip", role: "tooltip", hidden: "" });
  document.body.append(tip);
  let pointed = null; // the point that the tip is about
  const showTip = (event) => {
    pointed = event.currentTarget;
    tip.textContent = pointed.getAttribute("aria-label");
    tip.hidden = false;
    placeTip();
  };
  const placeTip = () => {
    const box = pointed.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.x + box.width / 2 - tip.offsetWidth / 2),
      document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.y - tip.offsetHeight - 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : box.y + box.height + 6}px`;
  };
  const hideTip = () => { tip.hidden = true; pointed = null; };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  document.addEventListener("scroll", () => { if (pointed) placeTip(); }, { passive: true, capture: true });

  // One stop of the Tab key per figure; arrows go from point to point.
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const points = [...event.currentTarget.querySelectorAll(".point")];
    const now = points.indexOf(document.activeElement);
    const next = points[(now + step + points.length) % points.length];
    points.forEach((point) => point.setAttribute("tabindex", point === next ? "0" : "-1"));
    next.focus();
  };

  // ---- A figure: axes, rules, series of points ----
  const SHAPES = {
    circle: "M0,-4.5A4.5,4.5 0 1 1 0,4.5A4.5,4.5 0 1 1 0,-4.5Z", square: "M-4,-4H4V4H-4Z",
    diamond: "M0,-5.5L5.5,0L0,5.5L-5.5,0Z", up: "M0,-5L5,4H-5Z", down: "M0,5L5,-4H-5Z",
    cross: "M-5,-1.6H-1.6V-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5Z", right: "M5,0L-4,5V-5Z", left: "M-5,0L4,5V-5Z",
  };
  const niceTicks = ([low, high], wanted = 5) => {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const ticks = [];
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) ticks.push(tick);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return ticks.map((tick) => [tick, figure(tick, Math.min(decimals, 6))]);
  };
  const scale = (axis, from, to) => {
    const place = axis.log ? Math.log : (value) => value;
    const [low, high] = axis.domain.map(place);
    return (value) => from + ((place(value) - low) / (high - low || 1)) * (to - from);
  };
  const around = (values, room = 0.06) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const more = (high - low) * room || Math.abs(high) * 0.05 || 0.5;
    return [low - more, high + more];
  };
  const logAround = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = high > low ? (high / low) ** 0.08 : 2;
    return [low / room, high * room];
  };

  const chart = ({ width = room, height = 270, x, y, series, rules = [], marks = [], label }) => {
    const right = rules.length ? 92 : 14;
    const [left, top, bottom] = [52, 12, x.title ? 46 : 28];
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label });
    const px = scale(x, left, width - right);
    const py = scale(y, height - bottom, top);
    const write = (words, attributes) => svg.append(element("text", attributes, words));
    for (const [value, words] of y.ticks ?? niceTicks(y.domain)) {
      svg.append(element("line", { class: "grid", x1: left, x2: width - right, y1: py(value), y2: py(value) }));
      write(words, { x: left - 6, y: py(value) + 4, "text-anchor": "end" });
    }
    let free = -Infinity;
    for (const [value, full] of x.ticks ?? niceTicks(x.domain)) {
      const words = brief(full);
      const half = breadth(words) / 2;
      svg.append(element("line", { class: "axis", x1: px(value), x2: px(value), y1: height - bottom, y2: height - bottom + 4 }));
      const place = Math.min(px(value), width - half - 1); // none sticks out at the right
      if (place - half < free) continue; // a label that would touch the one before is left out
      free = place + half + 4;
      write(words, { x: place, y: height - bottom + 17, "text-anchor": "middle" });
      if (words !== full) svg.lastChild.append(element("title", {}, full));
    }
    svg.append(element("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    if (x.title) write(x.title, { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", class: "title" });
    if (y.title) write(y.title, { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", class: "title",
      transform: `rotate(-90 12 ${(top + height - bottom) / 2})` });
    for (const mark of marks) svg.append(element("line", { class: "reference", x1: px(mark.x1), x2: px(mark.x2), y1: py(mark.y1), y2: py(mark.y2) }));
    drawRules(svg, rules, y, py, left, width - right, height - bottom);
    const points = element("g");
    for (const one of series) drawSeries(svg, points, one, px, py);
    svg.append(points); // above all lines
    points.querySelector(".point")?.setAttribute("tabindex", "0");
    svg.addEventListener("keydown", walk);
    return svg;
  };
  // Labels at the right end make way for each other; a rule far below all points is only named.
  const drawRules = (svg, rules, y, py, left, right, bottom) => {
    let taken = -Infinity;
    for (const rule of [...rules].sort((one, other) => other.y - one.y)) {
      const inside = rule.y >= y.domain[0] && rule.y <= y.domain[1];
      const arrow = inside ? "" : rule.y < y.domain[0] ? " ↓" : " ↑";
      const place = Math.min(Math.max(py(rule.y), 12), bottom - 2);
      taken = Math.max(place, taken + 14);
      if (inside) svg.append(element("line", { class: `rule c-${rule.kind}`, x1: left, x2: right, y1: py(rule.y), y2: py(rule.y) }));
      svg.append(element("text", { class: `rule-name c-${rule.kind}`, x: right + 5, y: taken + 4 }, rule.name + arrow));
    }
  };
  const drawSeries = (svg, points, one, px, py) => {
    const at = one.points.map((point) => [px(point.x) + (one.shift ?? 0), py(point.y)]);
    if (one.line !== false && at.length > 1) {
      const steps = one.step ? at.map(([x, y], place) => (place ? `H${x}V${y}` : `M${x},${y}`)).join("")
        : `M${at.map((place) => place.join(",")).join("L")}`;
      svg.append(element("path", { class: `line c-${one.kind}${one.dashed ? " dashed" : ""}`, d: steps }));
    }
    one.points.forEach((point, index) => {
      const [x, y] = at[index];
      if (point.low !== null && point.low !== undefined) {
        svg.append(element("line", { class: `interval c-${one.kind}`, x1: x, x2: x, y1: py(point.low), y2: py(point.high) }));
      }
      if (!point.tip) return;
      const mark = element("g", { class: `point c-${one.kind}${point.hollow ? " hollow" : ""}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        tabindex: "-1", role: "img", "aria-label": point.tip },
        element("circle", { class: "hit", r: 10 }), element("path", { class: "mark", d: SHAPES[one.shape] ?? SHAPES.circle }));
      for (const event of ["pointerenter", "focus"]) mark.addEventListener(event, showTip);
      for (const event of ["pointerleave", "blur"]) mark.addEventListener(event, hideTip);
      points.append(mark);
    });
  };
  const legend = (series) => {
    const seen = new Set();
    const list = element("ul", { class: "legend" });
    for (const one of series) {
      if (!one.name || seen.has(one.name)) continue;
      seen.add(one.name);
      const sample = element("svg", { viewBox: "-10 -7 20 14", "aria-hidden": "true" },
        element("path", { class: `line c-${one.kind}${one.dashed ? " dashed" : ""}`, d: "M-10,0H10" }));
      if (one.shape !== "none") sample.append(element("path", { class: `mark c-${one.kind}`, d: SHAPES[one.shape ?? "circle"] }));
      list.append(element("li", {}, sample, one.name));
    }
    return list;
  };
  // ---- A figure as a file: its drawings below one another, with the colours of the page ----
  const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "text-anchor", "display"];
  const standalone = (svg, x, y) => {
    const copy = svg.cloneNode(true);
    const copies = [copy, ...copy.querySelectorAll("*")];
    [svg, ...svg.querySelectorAll("*")].forEach((node, place) => {
      const style = getComputedStyle(node);
      copies[place].setAttribute("style", STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    });
    const { width, height } = svg.getBoundingClientRect();
    for (const [name, value] of Object.entries({ x, y, width, height })) copy.setAttribute(name, value);
    return copy;
  };
  const save = (holder) => {
    const origin = holder.getBoundingClientRect();
    const ink = getComputedStyle(holder).color;
    const parts = [...holder.querySelectorAll("svg")].filter((svg) => !svg.parentElement.closest("svg"))
      .map((svg) => standalone(svg, svg.getBoundingClientRect().x - origin.x, svg.getBoundingClientRect().y - origin.y));
    const words = [...holder.querySelectorAll(".legend li, .panel-name")].map((node) => {
      const range = document.createRange();
      range.selectNodeContents(node.lastChild ?? node);
      const box = range.getBoundingClientRect();
      return element("text", { x: box.x - origin.x, y: box.y - origin.y + 0.78 * box.height, fill: ink, "font-size": 13, "font-family": "sans-serif" }, node.textContent);
    });
    const whole = element("svg", { xmlns: SVG, width: origin.width, height: origin.height },
      element("rect", { width: "100%", height: "100%", fill: getComputedStyle(holder.closest("figure")).backgroundColor }), ...parts, ...words);
    const file = new XMLSerializer().serializeToString(whole);
    element("a", { download: `${document.title.split(" ")[0]}-${holder.closest("[id]")?.id ?? "figure"}-${holder.dataset.chart ?? "figure"}.svg`,
      href: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(file)}` }).click();
  };
  for (const holder of document.querySelectorAll(".interactive > div")) {
    const button = element("button", { type: "button", class: "save" }, t("Save as SVG"));
    button.addEventListener("click", () => save(holder));
    holder.closest("figure").querySelector("figcaption").append(" ", button);
  }
  const put = (holder, make) => {
    const figure = holder.closest("figure");
    figure.hidden = false;
    holder.replaceChildren();
    room = holder.clientWidth || 440;
    const nodes = make() ?? [];
    holder.replaceChildren(...nodes);
    figure.hidden = nodes.length === 0;
  };

  // ---- The figures ----
  const value = (row, metric) => row.slice(METRICS[metric], METRICS[metric] + 3);
  const name = (row) => (row[SIZE] < 0 ? data.arms[row[ARM]].name : `${data.sizes[row[SIZE]].name} ${data.arms[row[ARM]].name}`);
  const tested = (task, split) => {
    const found = task.splits[split];
    return t("{positives} of {n} test patients have the outcome", { positives: count(found?.[1]), n: count(found?.[0]) });
  };
  const tell = (task, row, metric = chosen.metric) => [
    name(row), `${data.metrics[metric]} ${span(value(row, metric))}`,
    `${t("{n} labelled patients", { n: count(row[PATIENTS]) })}, ${t("{n} seeds", { n: row[SEEDS] })}`,
    tested(task, data.splits[row[SPLIT]]),
  ].join("\n");
  const known = (task, metric, split) => task.rows.filter((row) =>
    data.splits[row[SPLIT]] === split && value(row, metric)[0] !== null);
  const most = (rows) => {
    const encoders = rows.filter((row) => row[SIZE] >= 0);
    return Math.max(...(encoders.length ? encoders : rows).map((row) => row[PATIENTS]));
  };
  const main = (task, metric, split) => {
    const rows = known(task, metric, split);
    return rows.filter((row) => row[PATIENTS] === most(rows));
  };
  const ends = (rows, metric) => rows.flatMap((row) => value(row, metric)).filter((one) => one !== null);
  const point = (task, row, metric, x) => {
    const [y, low, high] = value(row, metric);
    return { x, y, low, high, tip: tell(task, row, metric) };
  };
  const sizeTicks = () => data.sizes.map((size) => [size.parameters, size.name]);

  const bySize = (task, metric, split) => {
    const rows = main(task, metric, split);
    const encoders = rows.filter((row) => row[SIZE] >= 0);
    if (!encoders.length) return null;
    const rules = rows.filter((row) => row[SIZE] < 0).map((row) => ({ y: value(row, metric)[0], name: data.arms[row[ARM]].short, kind: data.arms[row[ARM]].key }));
    if (task.oracle?.[metric] && split === "held_out") rules.push({ y: task.oracle[metric][0], name: t("oracle"), kind: "oracle" });
    const prevalence = task.splits[split]?.[2];
    if (metric === "auprc" && typeof prevalence === "number") rules.push({ y: prevalence, name: t("prevalence"), kind: "prevalence" });
    const inner = ends(encoders, metric);
    const reach = around(inner, 0.6);
    const domain = around([...inner, ...rules.map((rule) => rule.y).filter((y) => y > reach[0] && y < reach[1])]);
    const arms = [...new Set(encoders.map((row) => row[ARM]))];
    const series = arms.map((arm, place) => ({
      name: data.arms[arm].name, kind: data.arms[arm].key, shape: data.arms[arm].shape, dashed: arm > 0,
      shift: (place - (arms.length - 1) / 2) * 8,
      points: encoders.filter((row) => row[ARM] === arm).map((row) => point(task, row, metric, data.sizes[row[SIZE]].parameters)),
    }));
    const nodes = chart({ label: t("{metric} against model size", { metric: data.metrics[metric] }), rules, series,
      x: { log: true, domain: logAround(data.sizes.map((size) => size.parameters)), ticks: sizeTicks(), title: t("Model size (parameters)") },
      y: { domain, title: data.metrics[metric] } });
    return [legend(series), nodes];
  };

  const byPatients = (task, metric, split) => {
    const rows = known(task, metric, split);
    const counts = [...new Set(rows.map((row) => row[PATIENTS]))].sort((one, other) => one - other);
    if (counts.length < 2) return null;
    const sizes = [...new Set(rows.map((row) => row[SIZE]).filter((size) => size >= 0))].sort((one, other) => one - other);
    const shown = rows.filter((row) => row[SIZE] >= 0 || data.arms[row[ARM]].key === "lightgbm");
    const domain = around(ends(shown, metric));
    const width = room / Math.max(1, Math.floor(room / 270)) - 14;
    const panels = sizes.map((size) => {
      const arms = [...new Set(shown.filter((row) => [size, -1].includes(row[SIZE])).map((row) => row[ARM]))];
      const series = arms.map((arm, place) => ({
        name: data.arms[arm].name, kind: data.arms[arm].key, shape: data.arms[arm].shape, dashed: arm > 0, shift: (place - (arms.length - 1) / 2) * 6,
        points: shown.filter((row) => row[ARM] === arm && [size, -1].includes(row[SIZE])).sort((one, other) => one[PATIENTS] - other[PATIENTS])
          .map((row) => point(task, row, metric, row[PATIENTS])),
      }));
      const even = split === "held_out" ? task.crossover.find((one) => one.size === data.sizes[size].name && one.metric === metric)?.n_labelled : null;
      const marks = even ? [{ x1: even, x2: even, y1: domain[0], y2: domain[1] }] : [];
      return { series, node: element("div", { class: "panel" }, element("p", { class: "panel-name" }, data.sizes[size].name),
        chart({ width, height: 215, label: t("{metric} against labelled patients, {size}", { metric: data.metrics[metric], size: data.sizes[size].name }), series, marks,
          x: { log: true, domain: logAround(counts), ticks: counts.map((n) => [n, count(n)]), title: t("Labelled patients") }, y: { domain, title: data.metrics[metric] } })) };
    });
    return [legend(panels.flatMap((panel) => panel.series)), element("div", { class: "panels" }, ...panels.map((panel) => panel.node))];
  };

  // Hours of everything a model needs: its own training, the pretraining it rests on, the models it averages.
  const cost = (task, row) => {
    const { key, rests } = data.arms[row[ARM]];
    const largest = data.sizes.length - 1;
    const parts = key !== "ensemble" ? [] : task.rows
      .filter((other) => other[SPLIT] === row[SPLIT] && other[PATIENTS] === row[PATIENTS])
      .filter((other) => [`pretrained ${largest}`, "lightgbm -1"].includes(`${data.arms[other[ARM]].key} ${other[SIZE]}`));
    const size = rests === "own" ? row[SIZE] : rests === "largest" ? largest : -1;
    const hours = [row[SECONDS] === null ? null : row[SECONDS] / 3600, size < 0 ? 0 : data.sizes[size].hours,
      ...parts.map((part) => cost(task, part))];
    return hours.includes(null) ? null : hours.reduce((sum, one) => sum + one);
  };
  const front = (task, metric, split) => {
    const priced = main(task, metric, split).map((row) => [cost(task, row), row]).filter(([hours]) => hours > 0);
    if (priced.length < 2 || metric === "calibration") return null;
    const better = metric === "log_loss" ? (one, other) => one < other : (one, other) => one > other;
    const beaten = ([hours, row]) => priced.some(([less, other]) => other !== row && less <= hours && better(value(other, metric)[0], value(row, metric)[0]));
    const best = priced.filter((one) => !beaten(one)).sort((one, other) => one[0] - other[0]);
    const series = data.arms.map((arm, index) => ({
      name: arm.name, kind: arm.key, shape: arm.shape, line: false,
      points: priced.filter(([, row]) => row[ARM] === index).map(([hours, row]) => ({ ...point(task, row, metric, hours),
        hollow: beaten([hours, row]), tip: `${tell(task, row, metric)}\n${t("computing time {time}", { time: duration(hours) })}` })),
    })).filter((one) => one.points.length);
    const path = { name: t("Pareto front"), kind: "front", shape: "none", step: true, points: best.map(([hours, row]) => ({ x: hours, y: value(row, metric)[0] })) };
    const hours = priced.map(([one]) => one);
    const ticks = [[1, "{n} s"], [10, "{n} s"], [60, "{n} min", 1], [600, "{n} min", 10], [3600, "{n} h", 1], [21600, "{n} h", 6], [86400, "{n} d", 1], [604800, "{n} d", 7], [6048000, "{n} d", 70]]
      .map(([seconds, words, n]) => [seconds / 3600, t(words, { n: n ?? seconds })]);
    const domain = logAround(hours);
    const nodes = chart({ height: 320, label: t("{metric} against computing time", { metric: data.metrics[metric] }), series: [path, ...series],
      x: { log: true, domain, ticks: ticks.filter(([tick]) => tick >= domain[0] && tick <= domain[1]), title: t("Computing time, pretraining included") },
      y: { domain: around(ends(priced.map(([, row]) => row), metric)), title: data.metrics[metric] } });
    return [legend([path, ...series]), nodes];
  };

  const detailName = (detail) => (detail.size ? `${detail.size} ${data.arms.find((arm) => arm.key === detail.arm).name}` : data.arms.find((arm) => arm.key === detail.arm).name);
  const styleOf = (detail) => {
    const index = data.arms.findIndex((arm) => arm.key === detail.arm);
    return { name: detailName(detail), kind: detail.arm, shape: data.arms[index].shape, dashed: index > 0 };
  };
  const few = (task) => task.per_model.filter((detail) => detail.highlighted);
  const calibration = (task) => {
    const series = few(task).filter((detail) => detail.curve?.length).map((detail) => ({ ...styleOf(detail),
      points: detail.curve.map((at) => ({ x: at.predicted, y: at.observed, tip: [detailName(detail),
        t("predicted {predicted}, observed {observed}", { predicted: percent(at.predicted), observed: percent(at.observed) })].join("\n") })) }));
    if (!series.length) return null;
    const top = Math.max(...series.flatMap((one) => one.points.flatMap((at) => [at.x, at.y]))) * 1.05;
    const ticks = niceTicks([0, top]).map(([tick]) => [tick, percent(tick)]);
    return [legend(series), chart({ label: t("Calibration"), series, marks: [{ x1: 0, y1: 0, x2: top, y2: top }],
      x: { domain: [0, top], ticks, title: t("Predicted risk") }, y: { domain: [0, top], ticks, title: t("Observed proportion") } })];
  };
  const benefit = (task) => {
    const series = few(task).filter((detail) => detail.net_benefit?.length).map((detail) => ({ ...styleOf(detail),
      points: detail.net_benefit.map((at) => ({ x: at.threshold, y: at.net_benefit, tip: [detailName(detail),
        t("threshold {threshold}: net benefit {benefit}", { threshold: percent(at.threshold), benefit: figure(at.net_benefit, 4) }),
        t("treat all: {benefit}", { benefit: figure(at.treat_all, 4) })].join("\n") })) }));
    if (!series.length) return null;
    const everybody = few(task).find((detail) => detail.net_benefit?.length).net_benefit.map((at) => ({ x: at.threshold, y: at.treat_all }));
    series.push({ name: t("Treat all"), kind: "prevalence", shape: "none", dashed: true, points: everybody.filter((at) => at.y > -0.01) });
    const shown = series.flatMap((one) => one.points.map((at) => at.y)).filter((y) => y > -0.02);
    const thresholds = series.flatMap((one) => one.points.map((at) => at.x));
    const domain = around(thresholds, 0.03);
    for (const one of series) one.points = one.points.filter((at) => at.y > -0.02);
    return [legend(series), chart({ label: t("Net benefit"), series, marks: [{ x1: domain[0], x2: domain[1], y1: 0, y2: 0 }],
      x: { domain, ticks: niceTicks(domain).map(([tick]) => [tick, percent(tick)]), title: t("Risk threshold") }, y: { domain: around(shown, 0.08), title: t("Net benefit") } })];
  };
  const risks = (task) => {
    const detail = few(task).find((one) => one.risk_distribution);
    if (!detail) return null;
    const { edges, with_outcome: cases, without_outcome: others } = detail.risk_distribution;
    const share = (counts) => {
      const whole = counts.reduce((sum, one) => sum + (typeof one === "number" ? one : 0), 0);
      return counts.map((one) => (typeof one === "number" && whole ? one / whole : 0));
    };
    const series = [[t("with the outcome"), "scratch", "square", cases], [t("without the outcome"), "pretrained", "circle", others]].map(([words, kind, shape, counts]) => ({
      name: words, kind, shape, points: share(counts).map((y, bin) => ({ x: Math.sqrt(edges[bin] * edges[bin + 1]), y, tip: [words,
        t("risk {low} to {high}: {n} patients", { low: percent(edges[bin]), high: percent(edges[bin + 1]), n: count(counts[bin]) })].join("\n") })) }));
    const domain = [edges[0], edges.at(-1)];
    const ticks = [0.0001, 0.001, 0.01, 0.1, 1].filter((tick) => tick >= domain[0] && tick <= domain[1]).map((tick) => [tick, percent(tick)]);
    return [element("p", { class: "panel-name" }, detailName(detail)), legend(series), chart({ label: t("Predicted risks"), series,
      x: { log: true, domain, ticks, title: t("Predicted risk") }, y: { domain: [0, Math.max(...series.flatMap((one) => one.points.map((at) => at.y))) * 1.08], title: t("Proportion of patients") } })];
  };
  const subgroups = (task, metric) => {
    const by = metric === "auroc" ? "auroc" : "auprc";
    const leads = few(task).filter((detail) => detail.subgroups?.length);
    if (!leads.length) return null;
    const groups = leads[0].subgroups;
    const series = leads.map((detail, place) => ({ ...styleOf(detail), line: false, shift: (place - (leads.length - 1) / 2) * 7,
      points: detail.subgroups.map((group, x) => [group, x]).filter(([group]) => group[by]?.estimate != null).map(([group, x]) => ({ x, y: group[by].estimate, low: group[by].low, high: group[by].high,
        tip: [`${detailName(detail)}: ${t(group.group)}`, `${data.metrics[by]} ${span([group[by].estimate, group[by].low, group[by].high])}`,
          t("{positives} of {n} test patients have the outcome", { positives: count(group.positives), n: count(group.n_test) })].join("\n") })) }));
    const shown = series.flatMap((one) => one.points.flatMap((at) => [at.y, at.low, at.high])).filter((one) => one != null);
    if (!shown.length) return null;
    const nodes = chart({ width: Math.max(room, 60 + 46 * groups.length), height: 270, label: t("Subgroups"), series, x: { domain: [-0.6, groups.length - 0.4],
      ticks: groups.map((group, place) => [place, t(group.group)]) }, y: { domain: around(shown), title: data.metrics[by] } });
    return [legend(series), nodes];
  };

  const losses = () => {
    const series = data.losses.filter((one) => one.tokens.length > 1).map((one) => ({ name: one.size, shape: "none",
      kind: `size-${data.sizes.findIndex((size) => size.name === one.size) % 6}`, dashed: data.sizes.findIndex((size) => size.name === one.size) % 2 === 1,
      points: one.tokens.map((tokens, place) => ({ x: tokens, y: one.loss[place], tip: null })) }));
    if (!series.length) return null;
    for (const one of series) { // a point at the end tells the last loss
      const last = one.points.at(-1);
      last.tip = `${one.name}\n${t("loss {loss} after {tokens} tokens", { loss: figure(last.y), tokens: compact(last.x) })}`;
    }
    const tokens = series.flatMap((one) => one.points.map((at) => at.x));
    const domain = [Math.min(...tokens), Math.max(...tokens) * 1.05];
    const ticks = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12].flatMap((tick) => [tick, 3 * tick]).filter((tick) => tick >= domain[0] && tick <= domain[1]).map((tick) => [tick, compact(tick)]);
    return [legend(series), chart({ label: t("Training loss"), series, x: { log: true, domain, ticks, title: t("Tokens") },
      y: { domain: around(series.flatMap((one) => one.points.map((at) => at.y))), title: t("Training loss (nats)") } })];
  };

  const DRAW = { size: bySize, patients: byPatients, calibration, benefit, risks, subgroups };
  const what = () => `${data.metrics[chosen.metric]} · ${data.split_names[chosen.split] ?? ""}`;
  const draw = (section, task) => {
    for (const place of section.querySelectorAll("[data-chosen]")) place.textContent = what();
    for (const holder of section.querySelectorAll("[data-chart]")) {
      put(holder, () => DRAW[holder.dataset.chart](task, chosen.metric, chosen.split));
    }
  };

  // ---- The controls ----
  const sections = [...document.querySelectorAll("section.task")];
  const controls = document.getElementById("controls");
  const frontFigure = document.querySelector("#front [data-chart-front]");
  const choose = () => {
    sections.forEach((section, place) => section.classList.toggle("aside", place !== chosen.task));
    const task = data.tasks[chosen.task];
    const splits = data.splits.filter((split) => task.rows.some((row) => data.splits[row[SPLIT]] === split));
    const select = controls.elements.split;
    for (const option of select.options) option.disabled = splits.length > 0 && !splits.includes(option.value);
    if (splits.length && !splits.includes(chosen.split)) chosen.split = select.value = splits[0];
    document.querySelector("#front [data-chosen]").textContent = `${task.name} · ${what()}`;
    draw(sections[chosen.task], task);
    put(frontFigure, () => front(task, chosen.metric, chosen.split));
    document.getElementById("front").classList.toggle("empty", frontFigure.closest("figure").hidden);
  };
  controls.addEventListener("change", () => {
    chosen.task = Number(controls.elements.task.value);
    chosen.metric = controls.elements.metric.value;
    chosen.split = controls.elements.split.value;
    choose();
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  const followLink = () => {
    const place = sections.findIndex((section) => `#${section.id}` === decodeURIComponent(window.location.hash));
    if (place < 0) return;
    controls.elements.task.value = String(chosen.task = place);
    choose();
    sections[place].scrollIntoView();
  };
  window.addEventListener("hashchange", followLink);
  // On paper nothing can be opened: every task is shown and every part is open.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
    sections.forEach((section, place) => draw(section, data.tasks[place]));
  });
  window.addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
  document.documentElement.classList.add("scripted");
  chosen.metric = controls.elements.metric.value = data.metric;
  chosen.task = Math.max(0, data.tasks.findIndex((task) => task.rows.length));
  controls.elements.task.value = String(chosen.task);
  const drawAll = () => {
    put(document.querySelector("[data-chart-losses]"), losses);
    if (sections.length) choose();
  };
  let drawnAt = window.innerWidth;
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (window.innerWidth !== drawnAt) { drawnAt = window.innerWidth; drawAll(); } }, 150);
  });
  drawAll();
  followLink();
})();
