/** A request's stages as they are reached: one line that is rewritten where the terminal allows it, a line each elsewhere. */
import pc from 'picocolors';
import type { Terminal } from './command.ts';
import type { ServerEvent } from './sse.ts';

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 80;

export class Stages {
  readonly #terminal: Terminal;
  readonly #start = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #frame = 0;
  last = '';

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    if (!terminal.live) return;
    this.#timer = setInterval(() => this.#draw(), FRAME_MS);
    this.#timer.unref();
  }

  /** The stage an event of the stream names, or the event's own name. */
  event({ type, data }: ServerEvent): string {
    const stage = stageOf(type, data);
    if (stage) this.reached(stage);
    return stage;
  }

  reached(stage: string): void {
    if (stage === this.last) return;
    this.last = stage;
    if (this.#terminal.live) this.#draw();
    else this.#terminal.note(`${this.#elapsed()}  ${stage}`);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#terminal.status('');
  }

  #draw(): void {
    const frame = FRAMES[this.#frame++ % FRAMES.length] ?? '';
    this.#terminal.status(`${pc.cyan(frame)} ${this.last || 'asking'} ${pc.dim(this.#elapsed())}`);
  }

  #elapsed(): string {
    return `${((performance.now() - this.#start) / 1_000).toFixed(1)} s`;
  }
}

export function stageOf(type: string, data: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(data);
  } catch {
    return type === 'message' ? '' : type;
  }
  const { stage, outcome } = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as { stage?: unknown; outcome?: unknown };
  if (typeof outcome === 'string') return 'finished';
  if (typeof stage === 'string') return stage;
  return type === 'message' ? '' : type;
}
