// The part of the page that answers: the slider, the rows under the pointer, folds and downloads.
"use strict";
(() => {
  const held = JSON.parse(document.getElementById("held").textContent);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const narrow = matchMedia("(max-width: 640px)");

  // Numbers as the page writes them (forecast/numbers.py).
  const threeDigits = (x) => {
    const rounded = Number(x.toPrecision(3));
    return rounded >= 100 ? rounded.toFixed(0) : String(rounded);
  };
  const count = (x) => {
    for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
      if (x >= 0.9995 * size) return `${threeDigits(x / size)} ${unit}`;
    return threeDigits(x);
  };
  const digits = (x) => {
    if (x === 0) return "0";
    const exponent = Math.floor(Math.log10(Math.abs(Number(x.toPrecision(3)))));
    const places = clamp(2 - exponent, 0, 20);
    const rounded = Number(x.toPrecision(3));
    return rounded.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places })
      .replace("-", "−");
  };
  const scientific = (x) => {
    const [mantissa, exponent] = x.toExponential(2).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  };
  const share = (x) => (Math.abs(x) >= 0.1 ? `${(100 * x).toFixed(0)}%` : `${Number((100 * x).toPrecision(2))}%`);
  const typed = (text) => {
    const found = /^\s*([\d.,]+(?:e[+-]?\d+)?)\s*([kMBGT]?)\s*$/i.exec(text);
    if (!found) return text.trim() ? NaN : null;
    const unit = { k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 }[found[2].toLowerCase()] || 1;
    return Number(found[1].replaceAll(",", "")) * unit;
  };

  // The grid of quantiles (forecast/report/grid.py).
  const unpack = ({ scale, low, high, data }) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const levels = new Uint16Array(bytes.buffer);
    return { scale, values: Float64Array.from(levels, (v) => low + ((high - low) * v) / 65535) };
  };
  class Grid {
    constructor(content) {
      Object.assign(this, content);
      this.step = (2 * this.reach) / (this.sizeCount - 1);
      this.scores = unpack(this.score);
      this.quantiles = Object.fromEntries(Object.entries(this.targets).map(([name, of]) => [name, unpack(of)]));
    }
    cost(params) { return this.cost_law[2] + this.cost_law[0] * params ** this.cost_law[1]; }
    /** Position among ascending numbers: the one below and how far it is to the next. */
    static place(x, of) {
      let i = clamp(of.findIndex((v) => v > x) - 1, 0, of.length - 2);
      if (x >= of[of.length - 1]) i = of.length - 2;
      return [i, clamp((x - of[i]) / (of[i + 1] - of[i]), 0, 1)];
    }
    /** Numbers of the grid between its nodes: cubic along sizes, straight along budgets and the log of passes. */
    read({ values, scale }, block, blocks, logFlops, logParams, passes) {
      const sizes = this.sizeCount, [b, tb] = Grid.place(logFlops, this.budgets);
      const levels = this.passes.map(Math.log), [p, tp] = levels.length > 1 ? Grid.place(Math.log(passes), levels) : [0, 0];
      const along = (pass, budget) => {
        const u = clamp((logParams - this.centres[budget] + this.reach) / this.step, 0, sizes - 1);
        const i = clamp(Math.floor(u), 0, sizes - 2), t = u - i;
        const start = ((pass * blocks + block) * this.budgets.length + budget) * sizes;
        const v = (k) => values[start + clamp(k, 0, sizes - 1)];
        const [a, c, d, e] = [v(i - 1), v(i), v(i + 1), v(i + 2)];
        return c + 0.5 * t * (d - a + t * (2 * a - 5 * c + 4 * d - e + t * (3 * (c - d) + e - a)));
      };
      const at = (pass) => (1 - tb) * along(pass, b) + (tb > 0 ? tb * along(pass, b + 1) : 0);
      const x = tp > 0 ? (1 - tp) * at(p) + tp * at(p + 1) : at(p);
      return scale * Math.sinh(x);
    }
    /** A run of a size: samples, FLOPs, passes, and what decides. Null outside the grid. */
    run(flops, params, limits) {
      const samples = Math.min(flops / this.cost(params), limits.samples ?? Infinity);
      const spent = samples * this.cost(params), logFlops = Math.log10(spent), logParams = Math.log10(params);
      const passes = Math.max(1, samples / (limits.unique ?? Infinity));
      if (logFlops < this.budgets[0] - 1e-6 || passes > this.passes[this.passes.length - 1]) return null;
      const [b, t] = Grid.place(logFlops, this.budgets);
      const centre = (1 - t) * this.centres[b] + t * this.centres[b + 1];
      if (Math.abs(logParams - centre) > this.reach) return null;
      return { params, samples, spent, passes, score: this.read(this.scores, 0, 1, logFlops, logParams, passes) };
    }
    quantilesOf(run) {
      const of = {};
      for (const [name, packed] of Object.entries(this.quantiles))
        of[name] = [0, 1, 2, 3, 4].map((k) =>
          this.read(packed, k, 5, Math.log10(run.spent), Math.log10(run.params), run.passes));
      return of;
    }
    /** The size that the objective chooses, as `forecast recommend` does. */
    best(flops, limits) {
      const low = this.sizes[0], high = this.sizes[1] * Math.max(flops / this.largest, 1) ** 0.9;
      const top = Math.min(high, limits.params ?? Infinity), sign = this.objective === "loss" ? -1 : 1;
      let best = null;
      for (let k = 0; k <= 400; k++) {
        const run = this.run(flops, low * (top / low) ** (k / 400), limits);
        if (run && (!best || sign * run.score > sign * best.score)) best = run;
      }
      return best;
    }
    /** The recommendation of the page, with its own quantiles. */
    recommended() {
      const { params, samples, spent, optimum, targets } = this.answer, unique = this.constraints.unique_samples;
      const near = this.run(this.flops, params, { samples, unique });
      return near && { ...near, params, samples, spent, optimum, targets };
    }
    optimum(flops) {
      const [b, t] = Grid.place(Math.log10(flops), this.budgets);
      return this.optimumLogs.map((of) => of.map((q) => 10 ** ((1 - t) * q[b] + t * q[b + 1])));
    }
  }
  const grids = Object.fromEntries(Object.entries(held.grids).map(([slug, content]) => {
    const { cost, optimum, ...rest } = content;
    const grid = new Grid({ ...rest, cost_law: cost, optimumLogs: optimum, sizeCount: held.sizes });
    return [slug, grid];
  }));

  // The slider.
  for (const form of document.querySelectorAll("form.ask")) {
    const slug = form.dataset.group, grid = grids[slug], field = (name) => form.elements[name];
    const [low, high] = [grid.budgets[0], grid.budgets[grid.budgets.length - 1]];
    Object.assign(field("slide"), { min: low, max: high, step: 0.01, value: Math.log10(grid.flops) });
    field("flops").value = scientific(grid.flops);
    const given = grid.constraints;
    if (given.max_params) field("params").value = count(given.max_params);
    if (given.max_samples) field("samples").value = count(given.max_samples);
    if (given.unique_samples && field("unique")) field("unique").value = count(given.unique_samples);
    const row = (cells) => `<tr>${cells.map((c, i) => `<td class="${i ? "n" : ""}" data-label="${held.head[i]}">${c}</td>`).join("")}</tr>`;
    const between = (a, b, write) => `${write(a)} to ${write(b)}`;
    const answer = () => {
      const flops = typed(field("flops").value), limits = {};
      const asked = { params: "params", samples: "samples", unique: "unique" };
      for (const name of Object.keys(asked)) if (field(name)) limits[name] = typed(field(name).value);
      const message = form.querySelector(".message"), body = form.querySelector("tbody");
      const numbers = [flops, ...Object.values(limits)].filter((x) => x !== null);
      if (flops === null || numbers.some((x) => !(x > 0))) {
        message.textContent = "Give positive numbers, as 2e19, 30M or 5 B.";
        return;
      }
      const inside = Math.log10(flops) >= low - 1e-6 && Math.log10(flops) <= high + 1e-6;
      const same = (a, b) => (a ?? null) === null ? (b ?? null) === null : Math.abs(a / b - 1) < 0.005;
      const asFrozen = same(flops, grid.flops) && same(limits.params, given.max_params)
        && same(limits.samples, given.max_samples) && same(limits.unique, given.unique_samples);
      const best = inside ? (asFrozen && grid.recommended()) || grid.best(flops, limits) : null;
      if (!best) {
        body.innerHTML = "";
        message.textContent = inside
          ? "These limits lie too far from the best size for this page; ask `forecast recommend`."
          : `This page answers from ${scientific(10 ** low)} to ${scientific(10 ** high)} FLOPs; ask \`forecast recommend\`.`;
        mark(slug, null);
        return;
      }
      const q = best.targets ?? grid.quantilesOf(best), free = !limits.params && !limits.samples && !limits.unique;
      const spread = (v, write) => [write(v[2]), between(v[1], v[3], write), between(v[0], v[4], write)];
      const optima = best.optimum || free ? (best.optimum ?? grid.optimum(flops)).map((v) => spread(v, count)) : [["", "", ""], ["", "", ""]];
      const rows = [["parameters N", count(best.params), ...optima[0]], ["samples D", count(best.samples), ...optima[1]]];
      for (const [name, v] of Object.entries(q)) rows.push([`${name} of the new run`, "", ...spread(v, digits)]);
      body.innerHTML = rows.map(row).join("");
      const ahead = flops / grid.largest, larger = best.params / (grid.sizes[1] / 10);
      const parts = [ahead > 1.05 ? `${threeDigits(ahead)} times the largest compute of the table.` : "Within the compute of the table."];
      if (best.spent < 0.99 * flops) parts.push(`${scientific(best.spent)} FLOPs are spent: the limits leave the rest.`);
      if (best.passes > 1.05) parts.push(`Samples are seen ${best.passes.toFixed(1)} times.`);
      if (ahead > 100) parts.push("So far beyond the table no forecast has been checked; take it with care.");
      if (larger > 5.05) parts.push(`The model is ${threeDigits(larger)} times the largest of the table; forecasts have been checked to 5 times; take it with care.`);
      const other = field("other") ? typed(field("other").value) : null;
      if (other) {
        const run = grid.run(flops, other, limits), sign = grid.objective === "loss" ? 1 : -1;
        parts.push(run
          ? `Training ${count(other)} parameters instead gives away an expected ${share(Math.max(sign * (run.score / best.score - 1), 0))} of the ${grid.objective}.`
          : `${count(other)} parameters lie too far from the best size for this page.`);
      }
      form.querySelector(".message").textContent = parts.join(" ");
      form.classList.toggle("far", ahead > 100 || larger > 5.05);
      mark(slug, { flops, q });
    };
    field("slide").addEventListener("input", () => {
      const near = Math.abs(field("slide").value - Math.log10(grid.flops)) < 0.006;
      field("flops").value = scientific(near ? grid.flops : Number((10 ** field("slide").value).toPrecision(3)));
      answer();
    });
    form.addEventListener("input", (event) => {
      if (event.target === field("slide")) return;
      const flops = typed(field("flops").value);
      if (flops > 0) field("slide").value = Math.log10(flops);
      answer();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.answer = answer;
    form.hidden = false;
    document.getElementById(`${slug}~recommended`).hidden = true;
  }

  // Over a picture: the budget of the slider, and the row under the pointer.
  const geometry = (figure) => {
    const both = held.pictures[figure.dataset.picture];
    return both && (narrow.matches && both.narrow ? both.narrow : both.wide);
  };
  const inverse = (of, x) => {
    for (let i = 1; i < of.length; i++)
      if (x <= of[i]) return (i - 1 + (x - of[i - 1]) / (of[i] - of[i - 1])) / (of.length - 1);
    return 1;
  };
  function mark(slug, at) {
    const figure = document.querySelector(`figure[data-picture="${slug}-headline"]`), g = figure && geometry(figure);
    if (!g || !figure.querySelector(".budget")) return;
    const show = at && Math.abs(Math.log(at.flops / grids[slug].flops)) > 0.01;
    figure.querySelector(".budget").hidden = !show;
    if (!show) return;
    const q = at.q[g.target], y = (v) => 100 * (1 - (g.box[1] + g.box[3] * inverse(g.heights, v)));
    const x = 100 * (g.box[0] + (g.box[2] * (Math.log10(at.flops) - g.across[0])) / (g.across[1] - g.across[0]));
    const place = (name, low, high) => Object.assign(figure.querySelector(name).style,
      { left: `${x}%`, top: `${y(high)}%`, height: `${y(low) - y(high)}%` });
    place(".ninety", q[0], q[4]);
    place(".fifty", q[1], q[3]);
    place(".middle", q[2], q[2]);
  }
  for (const figure of document.querySelectorAll("figure[data-picture]")) {
    const frame = figure.querySelector(".frame"), tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    frame.append(tip);
    for (const name of figure.dataset.picture.endsWith("-headline") ? ["budget"] : []) {
      const budget = document.createElement("div");
      budget.className = name;
      budget.hidden = true;
      budget.innerHTML = '<i class="ninety"></i><i class="fifty"></i><i class="middle"></i>';
      frame.append(budget);
    }
    frame.addEventListener("pointermove", (event) => {
      const g = geometry(figure), box = frame.getBoundingClientRect();
      if (!g || !held.rows) return;
      let nearest = null, least = 14 ** 2;
      for (const [fx, fy, row] of g.points) {
        const dx = fx * box.width - (event.clientX - box.left), dy = (1 - fy) * box.height - (event.clientY - box.top);
        if (dx * dx + dy * dy < least) [least, nearest] = [dx * dx + dy * dy, [fx, fy, row]];
      }
      tip.hidden = !nearest;
      if (!nearest) return;
      const cell = (name) => held.rows.data[nearest[2]][held.rows.columns.indexOf(name)];
      const lines = [cell("run") ?? `row ${cell("row")}`, `${count(cell("params"))} parameters, ${count(cell("samples"))} samples`, `${scientific(cell("flops"))} FLOPs`];
      for (const [column, name] of [["loss", "loss"], ["return_mean", "return"]])
        if (typeof cell(column) === "number") lines.push(`${name} ${digits(cell(column))}`);
      tip.textContent = lines.join("\n");
      const right = nearest[0] > 0.55;
      Object.assign(tip.style, { top: `${100 * (1 - nearest[1])}%`, left: right ? "auto" : `${100 * nearest[0]}%`, right: right ? `${100 * (1 - nearest[0])}%` : "auto" });
    });
    frame.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  for (const form of document.querySelectorAll("form.ask")) form.answer();
  narrow.addEventListener("change", () => document.querySelectorAll("form.ask").forEach((form) => form.answer()));

  // Downloads.
  const save = (name, type, content) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const csv = (columns, rows) => [columns, ...rows].map((cells) => cells.map((c) => {
    const text = c === null || c === undefined ? "" : String(c);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }).join(",")).join("\n") + "\n";
  const gridRows = () => {
    const rows = [];
    for (const grid of Object.values(grids))
      grid.budgets.forEach((logFlops, b) => {
        for (let i = 0; i < grid.sizeCount; i++) {
          const params = 10 ** (grid.centres[b] - grid.reach + i * grid.step), flops = 10 ** logFlops;
          const run = grid.run(flops, params, {}) ?? { params, samples: flops / grid.cost(params), spent: flops, passes: 1 };
          const q = grid.quantilesOf(run);
          rows.push([grid.group, flops, params, run.samples, ...["loss", "return"].flatMap((t) => q[t] ?? ["", "", "", "", ""])]
            .map((x) => (typeof x === "number" ? Number(x.toPrecision(5)) : x)));
        }
      });
    return rows;
  };
  const five = ["q05", "q25", "median", "q75", "q95"];
  const downloads = {
    rows: () => save("rows.csv", "text/csv", csv(held.rows.columns, held.rows.data)),
    grid: () => save("forecast.csv", "text/csv", csv(["group", "flops", "params", "samples",
      ...["loss", "return"].flatMap((t) => five.map((q) => `${t}_${q}`))], gridRows())),
    figures: () => document.querySelectorAll("figure img").forEach((img) => {
      const source = img.getAttribute("src");
      save(`${img.dataset.name}.svg`, "image/svg+xml", decodeURIComponent(source.slice(source.indexOf(",") + 1)));
    }),
  };
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", downloads[button.dataset.save]);
    button.hidden = button.dataset.save === "rows" && !held.rows;
  }

  // Folds: a link to something inside opens it, and so does printing.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
