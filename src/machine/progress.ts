// A progress bar on stderr; on anything but a terminal one line per step.

const WIDTH = 24;

export class Progress {
  readonly #terminal = Deno.stderr.isTerminal();
  #step = "";

  /** Shows that `step` is `percent` done, 0 to 100. */
  show(step: string, percent: number): void {
    if (this.#terminal) {
      const filled = Math.round(Math.min(100, Math.max(0, percent)) / 100 * WIDTH);
      const bar = "#".repeat(filled).padEnd(WIDTH, "-");
      this.#write(`\r\x1b[K[${bar}] ${String(Math.floor(percent)).padStart(3)}%  ${step}`);
    } else if (step !== this.#step) {
      this.#write(`${step}\n`);
    }
    this.#step = step;
  }

  /** Takes the bar off the screen. */
  done(): void {
    if (this.#terminal && this.#step !== "") this.#write("\r\x1b[K");
    this.#step = "";
  }

  #write(text: string): void {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
}
