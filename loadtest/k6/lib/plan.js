// How many clients there are, and how much they publish, at each moment of a run.

/**
 * @typedef {object} Stage
 * @property {string} name the `phase` of what is measured in it; several stages may share one
 * @property {number} seconds
 * @property {number} clients how many there are at its end; on the way it is even
 * @property {number} rate publishes per second, likewise; at once from its beginning where `step` is set
 * @property {boolean} [step]
 */

export class Plan {
  /** @param {Stage[]} stages of which those that take no time are left out */
  constructor(stages) {
    let from = 0;
    let clients = 0;
    let rate = 0;
    this.stages = stages.filter(({ seconds }) => seconds > 0).map((stage) => {
      const whole = { ...stage, from, fromClients: clients, fromRate: stage.step ? stage.rate : rate };
      from += stage.seconds;
      ({ clients, rate } = stage);
      return whole;
    });
    this.seconds = from;
    this.most = Math.max(...this.stages.map((stage) => stage.clients));
  }

  /** What holds at a moment, in seconds from the start: the last stage's end, after it. */
  at(seconds) {
    const stage = this.stages.find((one) => seconds < one.from + one.seconds) ?? this.stages[this.stages.length - 1];
    const share = Math.min(1, Math.max(0, (seconds - stage.from) / stage.seconds));
    const between = (a, b) => a + (b - a) * share;
    return {
      stage,
      clients: Math.round(between(stage.fromClients, stage.clients)),
      rate: between(stage.fromRate, stage.rate),
    };
  }

  /** The most that are dialled per second. */
  get handshakes() {
    return Math.max(...this.stages.map((stage) => (stage.clients - stage.fromClients) / stage.seconds));
  }

  get phases() {
    return [...new Set(this.stages.map((stage) => stage.name))];
  }
}
