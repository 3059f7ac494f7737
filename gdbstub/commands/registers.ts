// Registers: g and G for core and fpu, p and P for any by number.

import { toHex } from "../bytes.ts";
import { ERRNO, Refusal } from "../target.ts";
import type { PacketCommand } from "./command.ts";

export const REGISTERS: readonly PacketCommand[] = [
  {
    name: "g",
    async run(session) {
      const values = await session.target.readGeneral(session.place);
      return values instanceof Refusal ? values : session.digits(values);
    },
  },
  {
    name: "G",
    async run({ target, place }, packet) {
      const values = packet.hex();
      const bytes = target.registers(place.context).reduce(
        (sum, { general, bits }) => sum + (general ? bits / 8 : 0),
        0,
      );
      if (values.length !== bytes) return new Refusal(`G takes ${bytes} bytes, not ${values.length}`, ERRNO.EINVAL);
      return await target.writeGeneral(place, values) ?? "OK";
    },
  },
  {
    name: "p",
    async run({ target, place }, packet) {
      const value = await target.readRegister(place, packet.number());
      return value instanceof Refusal ? value : toHex(value);
    },
  },
  {
    name: "P",
    async run({ target, place }, packet) {
      const number = packet.number(), value = packet.expect("=").hex();
      const register = target.registers(place.context).find((r) => r.number === number);
      if (register === undefined) return new Refusal(`there is no register ${number}`, ERRNO.ENOENT);
      if (!register.writable) return new Refusal(`${register.name} cannot be written`, ERRNO.EACCES);
      if (value.length !== register.bits / 8) {
        return new Refusal(`${register.name} has ${register.bits} bits, not ${value.length * 8}`, ERRNO.EINVAL);
      }
      return await target.writeRegister(place, number, value) ?? "OK";
    },
  },
];
