// The 9P device over a real directory: what a client sees is compared with what the host says, and what it changes is
// looked for on the host.

import assert from "node:assert/strict";
import { HostShare } from "../../devices/host/share.ts";
import type { SecurityModel } from "../../devices/host/share_owners.ts";
import { VirtioP9 } from "../../devices/virtio/p9.ts";
import { MESSAGES, QID_TYPE } from "../../devices/virtio/p9_messages.ts";
import { MOST_FIDS, MOST_OPEN } from "../../devices/virtio/p9_server.ts";
import { OPEN, SETATTR } from "../../devices/virtio/p9_flags.ts";
import { NO_FID, P9Client } from "./p9_client.ts";
import { hasTools, inDirectory, runTool } from "./tools.ts";

const ignore = Deno.build.os !== "linux";
const text = (words: string) => new TextEncoder().encode(words);
const READ = 0, WRITE = OPEN.WRITE_ONLY;

interface Given {
  /** The shared directory, inside one that holds other things too. */
  readonly path: string;
  readonly outside: string;
  readonly client: P9Client;
  readonly share: HostShare;
}

/** A client of a share, with a file beside the share that it must never get to. */
async function withShare(
  readOnly: boolean,
  use: (given: Given) => Promise<void> | void,
  securityModel: SecurityModel = "none",
): Promise<void> {
  await inDirectory(async (directory) => {
    const path = `${directory}/share`, outside = `${directory}/outside`;
    await Deno.mkdir(path);
    await Deno.mkdir(outside);
    await Deno.writeTextFile(`${outside}/secret`, "outside");
    const share = new HostShare({ path, readOnly, securityModel });
    try {
      const client = new P9Client(new VirtioP9({ tag: "here", share, logged: null }));
      await use({ path, outside, client: client.begin(), share });
    } finally {
      share.dispose();
    }
  });
}

/** Whether there is something to look at extended attributes with, and a file system that has them. */
async function hasAttributes(): Promise<boolean> {
  const file = await Deno.makeTempFile();
  const script = "import os,sys;os.setxattr(sys.argv[1],'user.virtfs.mode',b'1234')";
  const found = await hasTools("python3") &&
    await runTool("python3", ["-c", script, file]).then(() => true, () => false);
  await Deno.remove(file);
  return found;
}

const unchanged = { mode: 0, uid: 0, gid: 0, size: 0n, atimeSec: 0n, atimeNsec: 0n, mtimeSec: 0n, mtimeNsec: 0n };

Deno.test({
  name: "9p: the mount tag is in the configuration, and messages are laid out as the protocol says",
  ignore,
  fn: () =>
    withShare(true, ({ client: { driver }, client }) => {
      assert.deepEqual(driver.offered() & 1n, 1n);
      const config = Array.from({ length: 6 }, (_, n) => driver.read(0x100 + n, 1));
      assert.deepEqual(config, [4, 0, ...text("here")]);
      // size[4] Tversion tag[2] msize[4] version[s], as a Linux guest sends it.
      const sent = [21, 0, 0, 0, 100, 0xff, 0xff, 0, 0x20, 0, 0, 8, 0, ...text("9P2000.L")];
      assert.deepEqual([...client.raw(Uint8Array.from(sent))], [21, 0, 0, 0, 101, ...sent.slice(5)]);
      const clunk = [11, 0, 0, 0, 120, 7, 0, 9, 0, 0, 0];
      assert.deepEqual([...client.raw(Uint8Array.from(clunk))], [11, 0, 0, 0, 7, 7, 0, 9, 0, 0, 0]);
      const types = Object.values(MESSAGES).map(({ type }) => type);
      assert.ok(new Set(types).size === types.length && types.every((type) => type % 2 === 0));
    }),
});

Deno.test({
  name: "9p: attributes, contents and listings are the host's",
  ignore,
  fn: () =>
    withShare(true, async ({ path, client }) => {
      const content = crypto.getRandomValues(new Uint8Array(50_000));
      await Deno.mkdir(`${path}/sub/deeper`, { recursive: true });
      await Deno.writeFile(`${path}/sub/file`, content);
      await Deno.utime(`${path}/sub/file`, 1_234_567_890, 1_300_000_000.5);
      await Deno.symlink("../file", `${path}/sub/deeper/link`);
      for (const names of [[], ["sub"], ["sub", "file"], ["sub", "deeper", "link"]]) {
        const fid = client.walk(...names), host = await Deno.lstat([path, ...names].join("/"));
        const said = client.must("getattr", { fid, mask: 0x7ffn });
        const ours = {
          mode: said.mode,
          ino: Number(said.qid.path),
          size: Number(said.size),
          nlink: Number(said.nlink),
        };
        assert.deepEqual(ours, { mode: host.mode, ino: host.ino, size: host.size, nlink: host.nlink });
        assert.deepEqual([said.uid, said.gid], [host.uid, host.gid]);
        assert.equal(said.mtimeSec * 1000n + said.mtimeNsec / 1_000_000n, BigInt(host.mtime!.getTime()));
        const type = host.isDirectory ? QID_TYPE.DIRECTORY : host.isSymlink ? QID_TYPE.LINK : QID_TYPE.FILE;
        assert.equal(said.qid.type, type);
        client.must("clunk", { fid });
      }
      const fid = client.open(READ, "sub", "file");
      assert.deepEqual(client.readAll(fid, 7777), content);
      const part = client.say("read", { fid, offset: 49_990n, count: 100 });
      assert.deepEqual(typeof part === "object" && part.data, content.subarray(49_990));
      assert.equal(client.must("readlink", { fid: client.walk("sub", "deeper", "link") }).target, "../file");
      const space = client.must("statfs", { fid: 0 });
      const [blocks, bytes] = (await runTool("stat", ["-f", "-c", "%b %s", path])).output.trim().split(" ");
      assert.deepEqual([space.blocks, space.bsize], [BigInt(blocks!), Number(bytes)]);
    }),
});

Deno.test({
  name: "9p: a listing goes on where it was, whatever its parts and whatever comes and goes",
  ignore,
  fn: () =>
    withShare(true, async ({ path, client }) => {
      const names = Array.from({ length: 700 }, (_, n) => `${n}-${"x".repeat(n % 90)}`);
      for (const name of names) await Deno.writeTextFile(`${path}/${name}`, "");
      await Deno.mkdir(`${path}/directory`);
      await Deno.symlink("nowhere", `${path}/link`);
      const expected = [...names, "directory", "link", ".", ".."].sort();
      for (const count of [65000, 5000, 200]) {
        const fid = client.open(OPEN.DIRECTORY), listed = client.listAll(fid, count);
        assert.deepEqual(listed.map(({ name }) => name).sort(), expected);
        assert.equal(listed.find(({ name }) => name === "link")!.qid.type, QID_TYPE.LINK);
        const parent = listed.find(({ name }) => name === "..")!, top = (await Deno.stat(path)).ino;
        assert.equal(Number(parent.qid.path), top);
        // Any offset that was given leads to the same rest.
        const at = listed[400]!;
        assert.deepEqual(
          client.list(fid, at.next, 3000),
          listed.slice(401, 401 + client.list(fid, at.next, 3000).length),
        );
        client.must("clunk", { fid });
      }
      const fid = client.open(READ), first = client.list(fid, 0n, 5000);
      for (const name of names.slice(0, 350)) await Deno.remove(`${path}/${name}`);
      const rest: string[] = [];
      for (let at = first.at(-1)!.next;;) {
        const part = client.list(fid, at, 5000);
        if (part.length === 0) break;
        rest.push(...part.map(({ name }) => name));
        at = part.at(-1)!.next;
      }
      const seen = [...first.map(({ name }) => name), ...rest];
      assert.equal(new Set(seen).size, seen.length, "nothing comes twice");
      for (const name of names.slice(350)) assert.ok(seen.includes(name), `${name} is not lost`);
      assert.equal(client.error("readdir", { fid, offset: 0n, count: 10 }), "EINVAL");
    }),
});

Deno.test({
  name: "9p: neither links nor dots lead out of the shared directory",
  ignore,
  fn: () =>
    withShare(false, async ({ path, outside, client }) => {
      await Deno.mkdir(`${path}/sub`);
      await Deno.mkdir(`${path}/other`);
      await Deno.symlink(outside, `${path}/absolute`);
      await Deno.symlink("../../outside", `${path}/sub/relative`);
      await Deno.symlink(`${outside}/secret`, `${path}/file`);
      const top = client.must("getattr", { fid: 0, mask: 0n }).qid.path;
      for (const names of [["absolute"], ["sub", "relative"], ["file"]]) {
        const fid = client.walk(...names);
        assert.equal(client.error("lopen", { fid, flags: READ }), "ELOOP");
        assert.equal(client.error("lopen", { fid, flags: OPEN.DIRECTORY }), "ELOOP");
        assert.equal(client.error("walk", { fid, newfid: client.newFid(), names: ["secret"] }), "ENOTDIR");
        assert.equal(client.error("lcreate", { fid, name: "new", flags: WRITE, mode: 0o644, gid: 0 }), "ENOTDIR");
        assert.equal(client.error("mkdir", { dfid: fid, name: "new", mode: 0o755, gid: 0 }), "ENOTDIR");
        assert.equal(client.error("unlinkat", { dfid: fid, name: "secret", flags: 0 }), "ENOTDIR");
        assert.equal(client.error("setattr", { ...unchanged, fid, valid: SETATTR.SIZE }), "EINVAL");
        assert.equal(client.error("setattr", { ...unchanged, fid, valid: SETATTR.MODE, mode: 0o777 }), "EOPNOTSUPP");
        assert.equal(client.error("rename", { fid: client.walk("other"), dfid: fid, name: "moved" }), "ENOTDIR");
      }
      assert.equal(
        client.error("lcreate", { fid: client.walk(), name: "file", flags: WRITE, mode: 0o644, gid: 0 }),
        "ELOOP",
      );
      for (const names of [[".."], ["..", "..", ".."], ["sub", "..", ".."], ["sub", "..", "..", "sub", "..", ".."]]) {
        const { qids } = client.must("walk", { fid: 0, newfid: client.newFid(), names });
        assert.equal(qids.at(-1)!.path, top, names.join("/"));
      }
      for (const name of ["../outside", "/etc", "", ".", "sub/..", "a\0b"]) {
        assert.equal(client.error("walk", { fid: 0, newfid: client.newFid(), names: [name] }), "ENOENT", name);
        const created = client.error("mkdir", { dfid: 0, name, mode: 0o755, gid: 0 });
        assert.equal(created, name === "." ? "EEXIST" : "ENOENT", name);
      }
      for (const name of ["..", "."]) {
        const made = { fid: client.walk(), name, flags: WRITE, mode: 0o644, gid: 0 };
        assert.equal(client.error("lcreate", made), "EEXIST");
        assert.equal(client.error("renameat", { olddirfid: 0, oldname: "sub", newdirfid: 0, newname: name }), "EEXIST");
        assert.equal(client.error("unlinkat", { dfid: 0, name, flags: 0x200 }), "EEXIST");
      }
      // What is found on the way is told, and the rest is not.
      const { qids } = client.must("walk", { fid: 0, newfid: 99, names: ["sub", "relative", "secret"] });
      assert.equal(qids.length, 2);
      assert.equal(client.error("clunk", { fid: 99 }), "EBADF");
      assert.deepEqual([...Deno.readDirSync(outside)].map(({ name }) => name), ["secret"]);
      assert.equal(await Deno.readTextFile(`${outside}/secret`), "outside");
    }),
});

Deno.test({
  name: "9p: who puts a link in place of a directory at any moment does not lead the guest out",
  ignore,
  fn: () =>
    withShare(true, async ({ path, outside, client }) => {
      await Deno.mkdir(`${path}/door`);
      await Deno.writeTextFile(`${path}/door/secret`, "inside");
      const swap =
        `cd "${path}" && ln -s "${outside}" link && while [ ! -e stop ]; do mv -T door aside; mv -T link door; ` +
        "mv -T door link; mv -T aside door; done";
      const swapper = new Deno.Command("sh", { args: ["-c", swap], stdin: "null", stdout: "null", stderr: "null" })
        .spawn();
      const outcomes: Record<string, number> = {};
      try {
        const until = performance.now() + 20_000;
        while (performance.now() < until) {
          const fid = client.newFid(), walked = client.say("walk", { fid: 0, newfid: fid, names: ["door", "secret"] });
          let outcome: string = typeof walked === "string" ? walked : `${walked.answer.qids.length} names`;
          if (outcome === "2 names") {
            outcome = client.error("lopen", { fid, flags: READ });
            if (outcome === "") outcome = new TextDecoder().decode(client.readAll(fid));
            client.must("clunk", { fid });
          }
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
          if ((outcomes["inside"] ?? 0) > 300 && (outcomes["1 names"] ?? 0) > 20) break;
        }
      } finally {
        await Deno.writeTextFile(`${path}/stop`, "");
        await swapper.status;
      }
      assert.equal(outcomes["outside"], undefined, JSON.stringify(outcomes));
      assert.ok((outcomes["inside"] ?? 0) > 0 && (outcomes["1 names"] ?? 0) > 0, JSON.stringify(outcomes));
    }),
});

Deno.test({
  name: "9p: FIFOs, sockets and devices are seen and never opened",
  ignore,
  fn: () =>
    withShare(false, async ({ path, client }) => {
      await runTool("mkfifo", [`${path}/fifo`]);
      const listener = Deno.listen({ transport: "unix", path: `${path}/socket` });
      for (const [name, type] of [["fifo", 0o010000], ["socket", 0o140000]] as const) {
        const fid = client.walk(name);
        assert.equal(client.must("getattr", { fid, mask: 0n }).mode & 0o170000, type);
        for (const flags of [READ, WRITE, OPEN.READ_WRITE]) {
          assert.equal(client.error("lopen", { fid, flags }), "ENXIO");
        }
        const create = { fid: client.walk(), name, flags: WRITE, mode: 0o600, gid: 0 };
        assert.equal(client.error("lcreate", create), "ENXIO");
        assert.equal(client.error("setattr", { ...unchanged, fid, valid: SETATTR.SIZE }), "EINVAL");
      }
      listener.close();
      const mknod = { dfid: 0, name: "null", mode: 0o020666, major: 1, minor: 3, gid: 0 };
      assert.equal(client.error("mknod", mknod), "EPERM");
    }),
});

/** Every message that changes something, on things that are there. */
function changingMessages(client: P9Client): [string, string][] {
  const fid = client.walk("file"), directory = client.walk("sub"), opened = client.open(READ, "file");
  return [
    ["lopen", client.error("lopen", { fid, flags: WRITE })],
    ["lopen", client.error("lopen", { fid, flags: READ | OPEN.TRUNCATE })],
    ["lcreate", client.error("lcreate", { fid: client.walk(), name: "new", flags: WRITE, mode: 0o644, gid: 0 })],
    ["write", client.error("write", { fid: opened, offset: 0n, count: 1 }, text("x"))],
    ["mkdir", client.error("mkdir", { dfid: 0, name: "new", mode: 0o755, gid: 0 })],
    ["symlink", client.error("symlink", { dfid: 0, name: "new", target: "x", gid: 0 })],
    ["mknod", client.error("mknod", { dfid: 0, name: "new", mode: 0o644, major: 0, minor: 0, gid: 0 })],
    ["link", client.error("link", { dfid: 0, fid, name: "new" })],
    ["rename", client.error("rename", { fid, dfid: 0, name: "new" })],
    ["renameat", client.error("renameat", { olddirfid: 0, oldname: "file", newdirfid: 0, newname: "new" })],
    ["unlinkat", client.error("unlinkat", { dfid: 0, name: "file", flags: 0 })],
    ["setattr", client.error("setattr", { ...unchanged, fid, valid: SETATTR.MODE, mode: 0o777 })],
    ["xattrcreate", client.error("xattrcreate", { fid, name: "user.x", size: 1n, flags: 0 })],
    ["remove", client.error("remove", { fid: directory })],
  ];
}

Deno.test({
  name: "9p: what is shared read-only does not change",
  ignore,
  fn: () =>
    withShare(true, async ({ path, client }) => {
      await Deno.mkdir(`${path}/sub`);
      await Deno.writeTextFile(`${path}/file`, "content");
      const before = await Deno.lstat(`${path}/file`);
      const said = changingMessages(client);
      assert.deepEqual(said, said.map(([name]) => [name, "EROFS"]));
      const names = new Set(said.map(([name]) => name));
      for (const [name, { changes }] of Object.entries(MESSAGES)) assert.ok(!changes || names.has(name), name);
      assert.deepEqual([...Deno.readDirSync(path)].map(({ name }) => name).sort(), ["file", "sub"]);
      const { mode, mtime, ctime } = await Deno.lstat(`${path}/file`);
      assert.deepEqual({ mode, mtime, ctime }, { mode: before.mode, mtime: before.mtime, ctime: before.ctime });
      assert.equal(client.readText("file"), "content");
    }),
});

Deno.test({
  name: "9p: what the guest changes is changed on the host",
  ignore,
  fn: () =>
    withShare(false, async ({ path, client }) => {
      const at = (name: string) => `${path}/${name}`;
      const file = client.walk();
      client.must("lcreate", { fid: file, name: "file", flags: OPEN.READ_WRITE, mode: 0o4640, gid: Deno.gid()! });
      assert.equal(client.must("write", { fid: file, offset: 3n, count: 5 }, text("hello")).count, 5);
      client.must("fsync", { fid: file, datasync: 0 });
      client.must("fsync", { fid: file, datasync: 1 });
      assert.equal(await Deno.readTextFile(at("file")), "\0\0\0hello");
      // No set-id bits on the host.
      assert.equal((await Deno.stat(at("file"))).mode! & 0o7777, 0o640);
      client.must("mkdir", { dfid: 0, name: "d", mode: 0o2711, gid: Deno.gid()! });
      assert.equal((await Deno.stat(at("d"))).mode! & 0o777, 0o711);
      const exists = { fid: client.walk(), name: "file", flags: WRITE | OPEN.EXCLUSIVE, mode: 0o644, gid: 0 };
      assert.equal(client.error("lcreate", exists), "EEXIST");
      client.must("symlink", { dfid: 0, name: "s", target: "/some/where", gid: 0 });
      assert.equal(await Deno.readLink(at("s")), "/some/where");
      const inD = client.walk("d");
      client.must("link", { dfid: inD, fid: file, name: "hard" });
      assert.equal((await Deno.stat(at("d/hard"))).ino, (await Deno.stat(at("file"))).ino);

      // Fids follow what is renamed under them.
      const hard = client.walk("d", "hard");
      client.must("renameat", { olddirfid: 0, oldname: "d", newdirfid: 0, newname: "e" });
      client.must("rename", { fid: hard, dfid: 0, name: "moved" });
      const times = { atimeSec: 111n, atimeNsec: 5_000_000n, mtimeSec: 222n, mtimeNsec: 7_000_000n };
      const valid = SETATTR.MODE | SETATTR.SIZE | SETATTR.ATIME | SETATTR.MTIME | SETATTR.ATIME_SET | SETATTR.MTIME_SET;
      client.must("setattr", { ...unchanged, fid: hard, valid, mode: 0o600, size: 4n, ...times });
      const host = await Deno.stat(at("moved"));
      assert.deepEqual([host.mode! & 0o7777, host.size], [0o600, 4]);
      assert.deepEqual([host.atime!.getTime(), host.mtime!.getTime()], [111_005, 222_007]);
      client.must("setattr", { ...unchanged, fid: hard, valid: SETATTR.MTIME });
      assert.ok(Math.abs((await Deno.stat(at("moved"))).mtime!.getTime() - Date.now()) < 3_600_000);
      assert.equal(client.error("renameat", { olddirfid: 0, oldname: "e", newdirfid: inD, newname: "x" }), "EINVAL");
      assert.equal(client.error("setattr", { ...unchanged, fid: 0, valid: SETATTR.SIZE }), "EISDIR");

      // An open file outlives its name; a fid of the name alone does not.
      const named = client.walk("file");
      client.must("unlinkat", { dfid: 0, name: "file", flags: 0 });
      await Deno.writeTextFile(at("file"), "another");
      assert.equal(client.error("getattr", { fid: named, mask: 0n }), "ENOENT");
      assert.equal(client.must("getattr", { fid: file, mask: 0n }).size, 4n);
      assert.equal(new TextDecoder().decode(client.readAll(file)), "\0\0\0h");
      client.must("setattr", { ...unchanged, fid: file, valid: SETATTR.SIZE, size: 1n });
      assert.equal(client.must("getattr", { fid: file, mask: 0n }).size, 1n);
      assert.equal(client.readText("file"), "another");

      const append = client.open(WRITE | OPEN.APPEND, "file");
      client.must("write", { fid: append, offset: 0n, count: 2 }, text("!!"));
      assert.equal(await Deno.readTextFile(at("file")), "another!!");
      const cut = client.open(WRITE | OPEN.TRUNCATE, "file");
      assert.equal((await Deno.stat(at("file"))).size, 0);
      client.must("clunk", { fid: cut });
      assert.equal(client.error("unlinkat", { dfid: 0, name: "e", flags: 0 }), "EISDIR");
      client.must("remove", { fid: inD });
      assert.equal(client.error("clunk", { fid: inD }), "EBADF");
      assert.equal(client.error("remove", { fid: client.walk() }), "EBUSY");
      assert.deepEqual([...Deno.readDirSync(path)].map(({ name }) => name).sort(), ["file", "moved", "s"]);
    }),
});

Deno.test({
  name: "9p: mistakes are answered, and what there may be of anything is bounded",
  ignore,
  fn: () =>
    withShare(false, async ({ path, client }) => {
      await Deno.writeTextFile(`${path}/file`, "content");
      const file = client.open(READ, "file"), directory = client.open(READ);
      assert.equal(client.error("auth", { afid: 1, uname: "", aname: "", nUname: 0 }), "EOPNOTSUPP");
      assert.equal(client.error("attach", { fid: 5, afid: 1, uname: "", aname: "", nUname: 0 }), "EBADF");
      assert.equal(client.error("attach", { fid: 0, afid: NO_FID, uname: "", aname: "", nUname: 0 }), "EINVAL");
      assert.equal(client.error("walk", { fid: 0, newfid: file, names: [] }), "EINVAL");
      assert.equal(client.error("walk", { fid: file, newfid: client.newFid(), names: [] }), "EINVAL");
      assert.equal(client.error("lopen", { fid: file, flags: READ }), "EINVAL");
      assert.equal(client.error("readdir", { fid: file, offset: 0n, count: 100 }), "ENOTDIR");
      assert.equal(client.error("read", { fid: directory, offset: 0n, count: 100 }), "EISDIR");
      assert.equal(client.error("read", { fid: 0, offset: 0n, count: 100 }), "EBADF");
      assert.equal(client.error("read", { fid: file, offset: 2n ** 63n, count: 100 }), "EINVAL");
      assert.equal(client.error("write", { fid: file, offset: 0n, count: 1 }, text("x")), "EBADF");
      assert.equal(client.error("xattrwalk", { fid: 0, newfid: 9, name: "user.x" }), "EOPNOTSUPP");
      assert.equal(client.error("readlink", { fid: 0 }), "EINVAL");
      assert.equal(client.error("mkdir", { dfid: 0, name: "x".repeat(256), mode: 0, gid: 0 }), "ENAMETOOLONG");
      assert.deepEqual(client.must("flush", { oldtag: 5 }), {});
      const lock = { fid: file, type: 1, start: 0n, length: 0n, procId: 1, clientId: "guest" };
      assert.equal(client.must("lock", { ...lock, flags: 0 }).status, 0);
      assert.equal(client.must("getlock", lock).type, 2);
      // An answer that has no room is an error that has.
      const small = client.say("getattr", { fid: 0, mask: 0n }, undefined, 40);
      assert.equal(small, "ENOBUFS");
      const read = client.say("read", { fid: file, offset: 0n, count: 100 }, undefined, 14);
      assert.equal(typeof read === "object" && new TextDecoder().decode(read.data), "con");

      let opened = 0;
      for (let error = ""; error === "" && opened < 2 * MOST_OPEN; opened++) {
        error = client.error("lopen", { fid: client.walk("file"), flags: READ });
      }
      assert.equal(opened + 1, MOST_OPEN);
      client.must("clunk", { fid: file });
      client.must("lopen", { fid: client.walk("file"), flags: READ });

      client.begin();
      let fids = 1;
      while (client.error("walk", { fid: 0, newfid: fids, names: [] }) === "") fids++;
      assert.equal(fids, MOST_FIDS);
      client.must("version", { msize: 8192, version: "9P2000.u" });
      assert.equal(client.error("clunk", { fid: 0 }), "EPROTO");
      assert.equal(client.error("version", { msize: 100, version: "9P2000.L" }), "EMSGSIZE");
      client.messageBytes = 8192;
      client.begin();
      assert.equal(client.must("version", { msize: 2 ** 31, version: "9P2000.L" }).msize, 512 * 1024);
    }),
});

Deno.test({
  name: "9p: a chain without room for the least message stops the device until its reset",
  ignore,
  fn: () =>
    withShare(true, ({ client }) => {
      for (const [sent, room] of [[6, 100], [7, 10]] as const) {
        client.send(new Uint8Array(sent), [sent], [room]);
        assert.ok(client.driver.needsReset);
        client.bringUp().begin();
        assert.ok(!client.driver.needsReset);
      }
      // However a message is cut into pieces.
      const sent = client.encode("getattr", { fid: 0, mask: 0n }), whole = client.raw(sent);
      const pieces = Array.from(sent, () => 1), room = Array.from({ length: 40 }, () => 4);
      assert.deepEqual(client.raw(sent, pieces, room).slice(7), whole.slice(7));
    }),
});

Deno.test({
  name: "9p: with mapped-xattr owners, modes and links are in attributes, as QEMU keeps them",
  ignore: ignore || !await hasAttributes(),
  fn: () =>
    withShare(false, async ({ path, client }) => {
      const attribute = async (file: string, name: string) => {
        const script =
          "import os,sys;print(int.from_bytes(os.getxattr(sys.argv[1],'user.virtfs.'+sys.argv[2]),'little'))";
        return Number((await runTool("python3", ["-c", script, `${path}/${file}`, name])).output);
      };
      const fid = client.walk();
      client.must("lcreate", { fid, name: "file", flags: WRITE, mode: 0o4755, gid: 77 });
      client.must("mkdir", { dfid: 0, name: "d", mode: 0o1777, gid: 78 });
      client.must("symlink", { dfid: 0, name: "s", target: "../outside", gid: 0 });
      assert.deepEqual([await attribute("file", "mode"), await attribute("file", "gid")], [0o104755, 77]);
      assert.deepEqual([await attribute("d", "mode"), await attribute("s", "mode")], [0o041777, 0o120777]);
      for (const [name, mode] of [["file", 0o600], ["d", 0o700], ["s", 0o600]] as const) {
        assert.equal((await Deno.lstat(`${path}/${name}`)).mode! & 0o7777, mode);
      }
      assert.ok((await Deno.lstat(`${path}/s`)).isFile && await Deno.readTextFile(`${path}/s`) === "../outside");
      const link = client.walk("s");
      assert.equal(client.must("readlink", { fid: link }).target, "../outside");
      assert.equal(client.must("getattr", { fid: link, mask: 0n }).qid.type, QID_TYPE.LINK);
      assert.equal(client.error("lopen", { fid: link, flags: READ }), "ELOOP");
      client.must("setattr", { ...unchanged, fid, valid: SETATTR.UID | SETATTR.MODE, uid: 5, mode: 0o6711 });
      const said = client.must("getattr", { fid, mask: 0n });
      assert.deepEqual([said.mode, said.uid, said.gid], [0o106711, 5, 77]);
      assert.equal((await Deno.lstat(`${path}/file`)).uid, Deno.uid());
    }, "mapped-xattr"),
});
