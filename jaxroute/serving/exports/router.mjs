// A router of jaxroute in JavaScript, without dependencies: docs/artefact.md has the formulas.
//
//   const router = load(bytes)                          bytes of weights.safetensors, as an ArrayBuffer
//   router.route("What is 2 + 2?", weight)              a text, if its encoder is a hashed one, or features
//     -> { model, index, scores, quality, cost }        quality and cost are null where the kind predicts none
//   router.weights({ budget: 0.002 })                   [[cost weight, share], ...]; also { qualityTarget: 0.8 }

export function load(bytes) {
  const view = new DataView(bytes);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, start - 8)));
  const meta = JSON.parse(header.__metadata__.router);
  const types = { F32: Float32Array, F64: Float64Array, I32: Int32Array };
  const arrays = {};
  delete header.__metadata__;
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (!(dtype in types)) throw new Error(`array ${name}: the type ${dtype} is not known`);
    arrays[name] = { data: new types[dtype](bytes.slice(start + from, start + to)), shape };
  }
  return new Router(meta, arrays);
}

class Router {
  constructor(meta, arrays) {
    if (!(meta.kind in KINDS)) throw new Error(`the kind ${meta.kind} is not known`);
    Object.assign(this, { meta, arrays, models: meta.models });
    this.available = meta.models.map((name) => !meta.removed.includes(name));
  }

  features(text) {
    if (typeof text !== "string") {
      const x = Float32Array.from(text);
      if (!x.every(Number.isFinite)) throw new Error("features: each must be a finite number");
      return x;
    }
    const encode = this.meta.context.length ? null : ENCODERS[this.meta.encoder];
    if (!encode) throw new Error(`texts are encoded elsewhere (${this.meta.encoder ?? "features alone"}): give features`);
    return encode(text);
  }

  route(prompt, weight) {
    const x = this.features(prompt);
    if (!(weight >= 0 && weight < 3.4e38)) throw new Error(`cost weight ${weight}: it must be a number of at least 0`);
    if (weight > 0 && !this.meta.costs_known) throw new Error("costs are unknown: the cost weight must be 0");
    const { scores, quality, cost } = KINDS[this.meta.kind](this, x, weight);
    const kept = scores.map((score, k) => (this.available[k] ? score : -Infinity));
    const index = kept.indexOf(Math.max(...kept));
    return { model: this.models[index], index, scores: kept, quality, cost: this.meta.costs_known ? cost : null };
  }

  // whether the curve was measured among the models that can be chosen
  get measured() {
    return this.models.every((name, k) => this.available[k] !== this.meta.measured_without.includes(name));
  }

  get curve() {
    if (!("curve/cost" in this.arrays)) return null;
    const part = (name) => Array.from(this.arrays[`curve/${name}`].data);
    const at = "curve/decided_at" in this.arrays ? part("decided_at") : null;
    return { weight: part("cost_weight"), cost: part("cost"), quality: part("quality"), at };
  }

  weights({ budget, qualityTarget }) {
    const { curve } = this;
    if (!curve) throw new Error("this router has no curve; give a cost weight");
    if (!this.measured) throw new Error("the curve was measured among other models than can be chosen; give a cost weight");
    const { cost, quality, at, weight } = curve, decided = at ?? weight;
    if (qualityTarget !== undefined) {
      const reached = cost.map((c, i) => (quality[i] >= qualityTarget ? c : Infinity));
      const i = reached.indexOf(Math.min(...reached));
      if (reached[i] === Infinity) throw new Error(`the highest mean quality is ${Math.max(...quality)}`);
      return [[decided[i], 1]];
    }
    const least = Math.min(...cost);
    if (!(least <= budget)) throw new Error(`the lowest mean cost per prompt is ${least}`);
    const order = at ? hull(cost, quality) : cost.map((_, i) => i);
    const first = order.findIndex((i) => cost[i] <= budget), cheap = order[first];
    if (first === 0) return [[decided[cheap], 1]];
    const dear = order[first - 1], share = (cost[dear] - budget) / (cost[dear] - cost[cheap]);
    return [[decided[cheap], share], [decided[dear], 1 - share]];
  }
}

function hull(cost, quality) {
  const order = cost.map((_, i) => i).sort((a, b) => cost[a] - cost[b] || quality[b] - quality[a]);
  const kept = [];
  for (const j of order) {
    if (kept.length && quality[j] <= quality[kept.at(-1)]) continue;
    while (kept.length > 1) {
      const before = kept.at(-2), last = kept.at(-1);
      const rise = quality[last] - quality[before], run = cost[last] - cost[before];
      if (rise * (cost[j] - cost[last]) > (quality[j] - quality[last]) * run) break;
      kept.pop();
    }
    kept.push(j);
  }
  return kept.reverse();
}

// x [n] times the matrix that begins at `offset` of an array of last axes [n, m], plus bias.
function dense(x, kernel, bias, lead) {
  const m = kernel.shape.at(-1), n = kernel.shape.at(-2), from = lead * n * m;
  const out = new Float64Array(m);
  for (let j = 0; j < m; j++) out[j] = bias ? bias.data[lead * m + j] : 0;
  for (let i = 0; i < n; i++) {
    const v = x[i], row = from + i * m;
    if (v !== 0) for (let j = 0; j < m; j++) out[j] += v * kernel.data[row + j];
  }
  return out;
}

function project({ arrays }, name, x) {
  const mean = arrays[`${name}/mean`].data;
  if (x.length !== mean.length) throw new Error(`${x.length} features; this router takes ${mean.length}`);
  return dense(x.map((v, i) => v - mean[i]), arrays[`${name}/basis`], null, 0);
}

function network({ arrays }, name, x, lead, width = Infinity) {
  const part = (layer) => [arrays[`${name}/params/${layer}/kernel`], arrays[`${name}/params/${layer}/bias`]];
  for (let layer = 0; `${name}/params/trunk/hidden_${layer}/kernel` in arrays; layer++) {
    x = dense(x, ...part(`trunk/hidden_${layer}`), lead);
    const scale = width < x.length ? Math.sqrt(x.length / width) : 1;
    x = x.map((z, i) => {
      if (i >= width) return 0;
      return (scale * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)))) / 2;
    });
  }
  return dense(x, ...part("scores"), lead);
}

function student(router, name, x) {
  const { arrays } = router, level = arrays[`${name}/level`].data, K = level.length;
  const p = project(router, `${name}/axes`, x);
  const z = dense(p, arrays[`${name}/linear`], arrays[`${name}/bias`], 0), mlp = network(router, `${name}/mlp`, p, 0);
  const quality = Array.from(level, (_, k) => z[k] + mlp[k]);
  const cost = Array.from(level, (c, k) => c * Math.max(z[K + k] + mlp[K + k], 0.01));
  return { quality, cost };
}

function mean(rows) {
  return Array.from(rows[0], (_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
}

const range = (count) => Array.from({ length: count }, (_, i) => i);

const KINDS = {
  plug_in(router, x, w) {
    const { quality, cost } = student(router, "student", x);
    return { scores: quality.map((q, k) => q - w * cost[k]), quality, cost };
  },

  per_weight(router, x, w) {
    const { arrays } = router, away = Array.from(arrays.cost_weights.data, (c) => Math.abs(Math.fround(c - Math.fround(w))));
    const l = away.indexOf(Math.min(...away)), M = arrays["params/params/scores/bias"].shape[1];
    const p = project(router, "axes", x), temperature = arrays.temperature.data[l];
    const shares = range(M).map((m) => {
      const z = Array.from(network(router, "params", p, l * M + m, arrays.width.data[l]), (v) => v / temperature);
      const top = Math.max(...z), log = Math.log(z.reduce((sum, v) => sum + Math.exp(v - top), 0)) + top;
      return z.map((v) => v - log);
    });
    const scores = shares[0].map((_, k) => {
      const top = Math.max(...shares.map((share) => share[k]));
      return Math.log(shares.reduce((sum, share) => sum + Math.exp(share[k] - top), 0) / M) + top;
    });
    return { scores, quality: null, cost: null };
  },

  interval(router, x, w) {
    const { arrays } = router, scale = router.meta.settings.cost_scale, J = arrays.ends.shape[0];
    const e = Array.from(arrays.ends.data, (end) => end * scale), v = w * scale;
    const j = Math.min(Math.max(e.filter((end) => end <= v).length - 1, 0), J - 2);
    const a = Math.min(Math.max((v - e[j]) / (e[j + 1] - e[j]), 0), 1);
    const M = arrays["end_params/params/scores/bias"].shape[1], R = arrays["residual/params/scores/bias"].shape[0];
    const p = project(router, "axes", x);
    const end = (i) => mean(range(M).map((m) => network(router, "end_params", p, i * M + m)));
    const inputs = Float64Array.from([...p, a, Math.log1p(e[j]), Math.log1p(e[j + 1])]);
    const low = end(j), high = end(j + 1), h = mean(range(R).map((m) => network(router, "residual", inputs, m)));
    return { scores: low.map((z, k) => (1 - a) * z + a * high[k] + a * (1 - a) * h[k]), quality: null, cost: null };
  },

  affine(router, x, w) {
    const { quality, cost } = student(router, "start", x), p = project(router, "axes", x), K = quality.length;
    const members = range(router.arrays["params/params/scores/bias"].shape[0]).map((m) => {
      const o = network(router, "params", p, m), factor = Math.exp(o[K]);
      return quality.map((q, k) => (q + o[k] - w * cost[k] * factor) / router.meta.settings.eta);
    });
    return { scores: mean(members), quality, cost };
  },
};

// ---- the hashed encoders

const WORD = /[\p{L}\p{N}_]+/gu;
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;
const B = 0x9e3779b97f4a7c15n, low64 = (x) => BigInt.asUintN(64, x);

function mix(h) {
  let z = low64(h + B);
  z = low64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = low64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

const points = (text) => Array.from(text, (c) => c.codePointAt(0));
const lone = (c) => c >= 0xd800 && c < 0xe000;

function utf8(code) {
  const bytes = [];
  for (const c of code) {
    if (c < 0x80) bytes.push(c);
    else if (c < 0x800) bytes.push(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) bytes.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else bytes.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
  }
  return bytes;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function murmur(bytes) {
  const turned = (x, bits) => (x << bits) | (x >>> (32 - bits)), whole = bytes.length & ~3;
  let h = 0;
  for (let i = 0; i < bytes.length; i += 4) {
    let k = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    k = Math.imul(turned(Math.imul(k, 0xcc9e2d51), 15), 0x1b873593);
    h ^= k;
    if (i < whole) h = (Math.imul(turned(h, 13), 5) + 0xe6546b64) | 0;
  }
  h ^= bytes.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

// Output number `count` of NumPy's PCG64(20250522): the state after count + 1 steps, found by doubling the step.
const low128 = (x) => BigInt.asUintN(128, x), POWERS = [];

function raw(count) {
  if (!POWERS.length) {
    let factor = 0x2360ed051fc65da44385df649fccf645n, shift = 0x496c9b25bb54d97a6673594b06a1c54fn;
    for (let bit = 0; bit < 22; bit++) {
      POWERS.push([factor, shift]);
      shift = low128((factor + 1n) * shift);
      factor = low128(factor * factor);
    }
  }
  let state = 0x4d1c4ed4f6a1647a02c53d5d14d01d26n;
  for (let bit = 0, left = count + 1; left; bit++, left >>>= 1) {
    if (left & 1) state = low128(state * POWERS[bit][0] + POWERS[bit][1]);
  }
  const word = low64((state >> 64n) ^ state), turn = state >> 122n;
  return low64((word >> turn) | (word << (64n - turn)));
}

// Counts of keys -> what `place(key)` says: four [column, sign] pairs; the sum is normalised over this kind of n-gram.
function add(x, keys, place) {
  const counts = new Map();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  let norm = 0;
  for (const count of counts.values()) norm += Math.log1p(count) ** 2;
  for (const [key, count] of counts) {
    const value = Math.log1p(count) / Math.sqrt(norm) / 2;
    for (const [column, sign] of place(key)) x[column] += sign * value;
  }
}

function unit(x) {
  const norm = Math.sqrt(x.reduce((sum, v) => sum + v * v, 0)) || 1;
  return Float32Array.from(x, (v) => v / norm);
}

const ENCODERS = {
  "hashed-2"(text) {
    const x = new Float64Array(256), lowered = text.toLowerCase();
    const place = (hash) => [0n, 9n, 18n, 27n].map((shift) => {
      const bits = Number((hash >> shift) & 511n);
      return [bits & 255, bits >> 8 ? 1 : -1];
    });
    const replaced = (part) => points(part).map((c) => (lone(c) ? 63 : c));
    const single = (lowered.match(WORD) ?? []).map((word) => mix(BigInt(crc32(utf8(replaced(word))))));
    add(x, [...single, ...single.slice(1).map((hash, i) => mix(low64(single[i] * B + hash)))], place);
    const code = replaced(` ${lowered} `.replace(SPACE, " ")), characters = [];
    for (const length of [3, 4, 5]) {
      for (let i = 0; i + length <= code.length; i++) {
        if (code.slice(i + 1, i + length - 1).includes(32)) continue;
        let hash = BigInt(length);
        for (let k = 0; k < length; k++) hash = low64(hash * B + BigInt(code[i + k]));
        characters.push(mix(hash));
      }
    }
    add(x, characters, place);
    return unit(x);
  },

  hashed(text) {
    const x = new Float64Array(256), lowered = text.toLowerCase();
    const words = lowered.match(WORD) ?? [], known = new Map();
    const place = (row) => {
      if (!known.has(row)) {
        known.set(row, range(4).map((e) => {
          const u = raw(4 * row + e);
          return [Number(u & 255n), u >> 63n ? 1 : -1];
        }));
      }
      return known.get(row);
    };
    const column = (gram) => Math.abs(murmur(utf8(gram))) % 2 ** 18;
    add(x, [...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)].map((w) => column(points(w))), place);
    const characters = [];
    for (const part of lowered.split(SPACE)) {
      if (!part) continue;
      const code = points(` ${part} `);
      for (const length of [3, 4, 5]) {
        for (let i = 0; i === 0 || i + length <= code.length; i++) characters.push(code.slice(i, i + length));
        if (code.length <= length) break;
      }
    }
    add(x, characters.map((gram) => column(gram) + 2 ** 18), place);
    return unit(x);
  },
};
