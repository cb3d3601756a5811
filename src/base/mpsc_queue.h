// Unbounded queue of nodes that bring their own link, many producers, one consumer, lock-free: a push cannot fail for want of
// room and takes no memory. Producers stack up nodes, the consumer takes the whole stack and turns it round: no node that is in
// the queue is ever unlinked alone, so the stack has no ABA problem.
// Thread: any; several consumers share the work by whole batches.
#pragma once

#include <atomic>

namespace odradek::base {

// Node has a member `std::atomic<Node*> next`, used by nobody else while the node is in the queue.
template <class Node>
class MpscQueue {
 public:
  enum class Push { kFirst, kMore, kClosed };

  // kFirst: the queue was empty, the consumer may have to be woken. kClosed: the node was not taken, and what the
  // consumer did before close() is seen.
  // Sequentially consistent: the pair "push, then look whether the consumer sleeps" meets "announce sleep, then empty()".
  Push try_push(Node* node) {
    Node* head = head_.load(std::memory_order_relaxed);
    do {
      if (head == closed()) {
        (void)head_.load(std::memory_order_acquire);  // meets close(): it stays closed
        return Push::kClosed;
      }
      node->next.store(head, std::memory_order_relaxed);  // published by the exchange below
    } while (!head_.compare_exchange_weak(head, node, std::memory_order_seq_cst, std::memory_order_relaxed));
    return head == nullptr ? Push::kFirst : Push::kMore;
  }
  // True: it was empty (the consumer must be woken). For queues that are never closed.
  bool push(Node* node) { return try_push(node) == Push::kFirst; }

  bool empty() const {
    Node* head = head_.load(std::memory_order_seq_cst);
    return head == nullptr || head == closed();
  }

  // In the order of the pushes; linked by `next`, null at the end.
  Node* pop_all() {
    Node* head = head_.load(std::memory_order_relaxed);
    if (head == nullptr || head == closed()) return nullptr;
    // Acquire: meets the release half of the exchanges in try_push (those of older nodes too: they form a release sequence).
    return turned(head_.exchange(nullptr, std::memory_order_acq_rel));
  }

  // Takes what is there; every later push gives kClosed.
  Node* close() {
    Node* head = head_.exchange(closed(), std::memory_order_acq_rel);
    return head == closed() ? nullptr : turned(head);
  }

 private:
  static Node* turned(Node* head) {
    Node* first = nullptr;
    while (head != nullptr) {
      Node* older = head->next.load(std::memory_order_relaxed);
      head->next.store(first, std::memory_order_relaxed);
      first = head;
      head = older;
    }
    return first;
  }
  // An address that is no node's.
  static Node* closed() {
    static constinit char mark = 0;
    return reinterpret_cast<Node*>(&mark);
  }

  std::atomic<Node*> head_{nullptr};
};

}  // namespace odradek::base
