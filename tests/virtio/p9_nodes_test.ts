// The tree of places that a 9P client has named, beside a model that keeps whole paths.

import assert from "node:assert/strict";
import { type Node, NodeTree } from "../../devices/virtio/p9_nodes.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice } from "./tools.ts";

Deno.test("9p: places move with what is above them, stay gone, and are forgotten when nobody points there", () => {
  let moves = 0, removals = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const dice = new Dice(seededRandom(seed)), tree = new NodeTree(), held: { node: Node; path: string | null }[] = [];
    const isWithin = (path: string | null, above: string) => path === above || path?.startsWith(`${above}/`) === true;
    const remove = (above: string) => {
      for (const one of held) if (isWithin(one.path, above)) one.path = null;
    };
    /** A place that is held, or the top. */
    const somewhere = () => {
      const there = held.filter(({ path }) => path !== null);
      return dice.below(3) === 0 || there.length === 0 ? { node: tree.root, path: "" } : dice.pick(...there);
    };
    for (let step = 0; step < 200; step++) {
      const { node, path } = somewhere(), name = dice.pick("a", "b", "c"), place = `${path}/${name}`;
      switch (dice.below(6)) {
        case 0:
        case 1:
          held.push({ node: tree.hold(tree.child(node, name)), path: place });
          break;
        case 2:
          if (held.length > 0) tree.release(held.splice(dice.below(held.length), 1)[0]!.node);
          break;
        case 3:
          if (dice.below(3) > 0) break;
          tree.remove(node, name);
          remove(place);
          removals++;
          break;
        default: {
          const to = somewhere(), newName = dice.pick("a", "b", "c"), newPlace = `${to.path}/${newName}`;
          const moved = node.below.get(name);
          if (moved !== undefined && tree.isWithin(to.node, moved)) {
            assert.ok(isWithin(to.path, place));
            break;
          }
          tree.move(node, name, to.node, newName);
          if (place === newPlace) break;
          const going = held.filter((one) => isWithin(one.path, place));
          const paths = going.map((one) => newPlace + one.path!.slice(place.length));
          for (const one of held) if (!going.includes(one) && isWithin(one.path, newPlace)) one.path = null;
          going.forEach((one, n) => one.path = paths[n]!);
          moves++;
        }
      }
      for (const { node, path } of held) {
        const names = tree.path(node);
        assert.equal(names === null ? null : `/${names.join("/")}`, path, `seed ${seed}, step ${step}`);
        if (names !== null) assert.equal(node.depth, names.length);
      }
    }
    for (const { node } of held) tree.release(node);
    assert.deepEqual([tree.count, tree.root.below.size, tree.root.references], [0, 0, 1], `seed ${seed}`);
  }
  assert.ok(moves > 1000 && removals > 500, `${moves} moves, ${removals} removals`);
});
