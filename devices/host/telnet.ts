// The telnet protocol around a serial line, by RFC 854, 856, 857 and 858, as little of it as a client needs to behave like
// a terminal: we offer to echo, to suppress go-ahead and to be binary, ask for binary, and refuse everything else, each
// option once, so that no peer can draw us into a loop. Sub-negotiations are skipped, whatever their length. BRK is a
// break; the other commands mean nothing to a serial line.

import { BREAK, type Input } from "./character.ts";

const IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, BRK = 243, SE = 240;
const BINARY = 0, ECHO = 1, SUPPRESS_GO_AHEAD = 3;
const CR = 13, NUL = 0;

/** What we are willing to do, and what the peer may do. */
const WE_DO: readonly number[] = [BINARY, ECHO, SUPPRESS_GO_AHEAD];
const PEER_DOES: readonly number[] = [BINARY, SUPPRESS_GO_AHEAD];

/** Sent when a connection begins. */
export const GREETING: Uint8Array = Uint8Array.of(
  ...[IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD],
  ...[IAC, WILL, BINARY, IAC, DO, BINARY],
);

/** Output as telnet carries it. */
export function encodeTelnet(data: Uint8Array): Uint8Array {
  if (!data.includes(IAC)) return data;
  return Uint8Array.from([...data].flatMap((byte) => byte === IAC ? [IAC, IAC] : [byte]));
}

type State = "data" | "command" | "option" | "subnegotiation" | "subnegotiation command";

/** One connection's input. */
export class TelnetDecoder {
  #state: State = "data";
  /** The command whose option comes next. */
  #command = 0;
  #afterCr = false;
  /** The peer sends binary, so that NUL after CR is data. */
  #binary = false;
  readonly #answered = new Set<number>();

  /** The input that `data` carries, and what is to be sent back. */
  decode(data: Uint8Array): { input: Input[]; reply: Uint8Array } {
    const input: Input[] = [], reply: number[] = [];
    let bytes: number[] = [];
    const flush = () => {
      if (bytes.length > 0) input.push(Uint8Array.from(bytes));
      bytes = [];
    };
    for (const byte of data) {
      switch (this.#state) {
        case "data":
          if (byte === IAC) this.#state = "command";
          else this.#accept(byte, bytes);
          break;
        case "command":
          this.#state = byte === SB ? "subnegotiation" : byte >= WILL && byte <= DONT ? "option" : "data";
          this.#command = byte;
          if (byte === IAC) this.#accept(byte, bytes);
          else if (byte === BRK) {
            flush();
            input.push(BREAK);
          }
          break;
        case "option":
          this.#state = "data";
          reply.push(...this.#negotiate(this.#command, byte));
          break;
        case "subnegotiation":
          if (byte === IAC) this.#state = "subnegotiation command";
          break;
        case "subnegotiation command":
          this.#state = byte === SE ? "data" : "subnegotiation";
          break;
      }
    }
    flush();
    return { input, reply: Uint8Array.from(reply) };
  }

  #accept(byte: number, bytes: number[]): void {
    // Outside binary mode a carriage return alone is sent as CR NUL.
    if (!(byte === NUL && this.#afterCr && !this.#binary)) bytes.push(byte);
    this.#afterCr = byte === CR;
  }

  /** The answer to WILL, WONT, DO or DONT. What only confirms the greeting needs none, nor does what was said before. */
  #negotiate(command: number, option: number): number[] {
    if (option === BINARY && (command === WILL || command === WONT)) this.#binary = command === WILL;
    const answer = command === WILL ? (PEER_DOES.includes(option) ? DO : DONT) : WONT;
    const confirms = command === WILL ? option === BINARY : WE_DO.includes(option);
    if (command === WONT || command === DONT || confirms || this.#answered.has(answer << 8 | option)) return [];
    this.#answered.add(answer << 8 | option);
    return [IAC, answer, option];
  }
}
