#include "encoder/wordpiece_trie.h"

#include <algorithm>
#include <deque>

namespace vecino::encoder {
namespace {

// The units not yet taken, in order, as a linked list inside a vector that grows at its end.
class FreeUnits {
 public:
  bool Taken(int32_t unit) const { return unit < Size() && next_[unit] == kTaken; }
  int32_t Size() const { return static_cast<int32_t>(next_.size()); }
  int32_t First() const { return head_; }  // Size() when all are taken
  int32_t Next(int32_t unit) const { return unit < Size() ? next_[unit] : unit + 1; }

  void Take(int32_t unit) {
    while (Size() <= unit) {
      previous_.push_back(tail_);
      next_.push_back(Size() + 1);
      tail_ = Size() - 1;
    }
    const int32_t before = previous_[unit], after = next_[unit];
    (before < 0 ? head_ : next_[before]) = after;
    (after == Size() ? tail_ : previous_[after]) = before;
    next_[unit] = kTaken;
  }

  // Gives up on every free unit before `unit`, so that searches stay short.
  void SkipTo(int32_t unit) {
    while (head_ < unit && head_ < Size()) Take(head_);
  }

 private:
  static constexpr int32_t kTaken = -2;
  std::vector<int32_t> next_, previous_;
  int32_t head_ = 0, tail_ = -1;
};

}  // namespace

WordPieceTrie::WordPieceTrie(std::vector<std::pair<std::string_view, int32_t>> tokens) {
  constexpr int kAlphabet = 256, kTries = 256;
  std::sort(tokens.begin(), tokens.end());
  // Breadth first: the nodes every word passes through lie together.
  struct Pending {
    Node node;
    size_t begin, end, depth;  // the tokens below the node, and the bytes that lead to it
  };
  std::deque<Pending> pending;
  FreeUnits free;
  free.Take(kRoot);
  units_.resize(1 + kAlphabet);
  pending.push_back({kRoot, 0, tokens.size(), 0});
  std::vector<std::pair<uint8_t, size_t>> children;  // byte, first token
  while (!pending.empty()) {
    const Pending p = pending.front();
    pending.pop_front();
    size_t begin = p.begin;
    if (begin < p.end && tokens[begin].first.size() == p.depth)
      units_[p.node].id = tokens[begin++].second;
    children.clear();
    for (size_t i = begin; i < p.end; ++i) {
      const uint8_t byte = static_cast<uint8_t>(tokens[i].first[p.depth]);
      if (children.empty() || children.back().first != byte) children.push_back({byte, i});
    }
    if (children.empty()) continue;

    int tries = 0;
    int32_t base = 0;
    for (int32_t unit = free.First();; unit = free.Next(unit)) {
      base = unit - children[0].first;
      if (base >= 0 && std::none_of(children.begin(), children.end(), [&](const auto& child) {
            return free.Taken(base + child.first);
          })) {
        break;
      }
      if (++tries == kTries) free.SkipTo(unit);
    }
    units_[p.node].base = base;
    if (units_.size() < static_cast<size_t>(base) + kAlphabet) units_.resize(base + kAlphabet);
    for (size_t i = 0; i < children.size(); ++i) {
      const Node child = base + children[i].first;
      free.Take(child);
      units_[child].parent = p.node;
      pending.push_back({child, children[i].second,
                         i + 1 < children.size() ? children[i + 1].second : p.end, p.depth + 1});
    }
  }
}

WordPieceTrie::Node WordPieceTrie::Descend(std::string_view prefix) const {
  Node node = kRoot;
  for (const char c : prefix) {
    const Node next = units_[node].base + static_cast<uint8_t>(c);
    if (units_[next].parent != node) return kNone;
    node = next;
  }
  return node;
}

}  // namespace vecino::encoder
