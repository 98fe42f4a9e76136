// A vocabulary as a double-array trie over bytes, for look-ups of prefixes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace vecino::encoder {

// Thread safety: const methods are safe from any thread at once.
class WordPieceTrie {
 public:
  using Node = int32_t;
  static constexpr Node kNone = -1;
  static constexpr Node kRoot = 0;

  struct Match {
    int32_t id = -1;    // -1: nothing matches
    size_t length = 0;  // bytes
  };

  // `tokens` are distinct and not empty; their ids are at least 0.
  explicit WordPieceTrie(std::vector<std::pair<std::string_view, int32_t>> tokens);

  // The node reached from the root by `prefix`, or kNone.
  Node Descend(std::string_view prefix) const;

  // The token that ends at `node`, or -1. Nothing ends at kNone.
  int32_t IdAt(Node node) const { return node == kNone ? -1 : units_[node].id; }

  // The longest non-empty prefix of `text` that leads from `from` to a token. From kNone nothing
  // matches.
  Match LongestMatch(Node from, std::string_view text) const {
    Match match;
    if (from == kNone) return match;
    Node node = from;
    for (size_t i = 0; i < text.size(); ++i) {
      const Node next = units_[node].base + static_cast<uint8_t>(text[i]);
      if (units_[next].parent != node) break;
      node = next;
      if (units_[node].id >= 0) match = {units_[node].id, i + 1};
    }
    return match;
  }

  // Calls fn(Match) for each non-empty prefix of `text` that leads from `from` to a token, the
  // shortest first. From kNone nothing matches.
  template <typename Fn>
  void ForEachMatch(Node from, std::string_view text, Fn&& fn) const {
    if (from == kNone) return;
    Node node = from;
    for (size_t i = 0; i < text.size(); ++i) {
      const Node next = units_[node].base + static_cast<uint8_t>(text[i]);
      if (units_[next].parent != node) return;
      node = next;
      if (units_[node].id >= 0) fn(Match{units_[node].id, i + 1});
    }
  }

 private:
  // Child of node n by byte b is base(n) + b, if the parent of that unit is n. Invariant: base +
  // 255 is inside units_ for every node, so a look-up needs no bounds check.
  struct Unit {
    int32_t base = 0;
    int32_t parent = kNone;
    int32_t id = -1;  // the token that ends here, or -1
  };

  std::vector<Unit> units_;
};

}  // namespace vecino::encoder
