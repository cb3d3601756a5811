// Requests in, answers out.
#include "base/log.h"
#include "net/network_thread.h"

namespace odradek::net {

void NetworkThread::serve_read(Connection& connection) {
  if (connection.mute_until_ns_ != 0 || connection.at_end_ || draining_ || retiring_ || stopping_) return;
  if (connection.pipeline_full_) {
    int limit = shared_.options.max_pipelined_requests;
    if (connection.open_exchanges_ > limit - limit / 4 && connection.open_exchanges_ > 0) return;
    connection.pipeline_full_ = false;
  }
  if (is_stalled_) {
    if (!connection.in_stalled_) {
      connection.in_stalled_ = true;
      stalled_.push_back(&connection);
    }
    return;
  }
  current_ = &connection;
  uint64_t before = connection.reader_->progress();
  auto stop = connection.reader_->run(connection.socket_.get(), connection.readable_, *this, connection.on_room_);
  if (connection.reader_->progress() != before) connection.active_ns_ = now_ns_;
  switch (stop) {
    case FrameReader::Stop::kDrained:
      // A peer that has closed: the end is still to be read.
      if (connection.peer_closed_ && connection.readable_) {
        make_ready(connection);
      } else {
        connection.readable_ = false;
      }
      break;
    case FrameReader::Stop::kTurnOver:
      make_ready(connection);
      break;
    case FrameReader::Stop::kRefused:
      if (is_stalled_ && !connection.in_stalled_) {
        connection.in_stalled_ = true;
        stalled_.push_back(&connection);
      }
      break;
    case FrameReader::Stop::kNoRoom:
      break;
    case FrameReader::Stop::kEnd:
      connection.at_end_ = true;
      if (connection.open_exchanges_ == 0) close(connection, "closed by the peer");
      return;
    case FrameReader::Stop::kTooLarge:
      log::warn("net", "{}: request of {} bytes from {}:{} refused (socket.request.max.bytes is {})", listener_.options.name,
                connection.reader_->refused_size(), connection.peer.host, connection.peer.port, shared_.options.request_max_bytes);
      close(connection, "bad request size");
      return;
    case FrameReader::Stop::kBroken:
      close(connection, "connection lost");
      return;
  }
  if (!connection.in_watched_ && connection.reader_->waits_for_peer()) timers_.watch(connection, now_ns_);
}

bool NetworkThread::may_take() {
  if (draining_ || retiring_) return false;
  if (current_->open_exchanges_ >= shared_.options.max_pipelined_requests) {
    current_->pipeline_full_ = true;
    return false;
  }
  if (!shared_.sink.admit(*inbox_)) {
    is_stalled_ = true;
    return false;
  }
  return true;
}

void NetworkThread::take(Frame frame) {
  waking_.count_frame();
  Exchange* exchange = shared_.sink.on_frame(*current_, std::move(frame), now_ns_);
  // It may have been answered already; that is known only when this thread takes it out of its inbox.
  current_->writer_.expect(exchange);
  ++current_->open_exchanges_;
}

void NetworkThread::done(Exchange& exchange) {
  if (write_now_ns_ == 0) write_now_ns_ = shared_.clock.monotonic_ns();
  exchange.sent_ns = write_now_ns_;
  end_exchange(exchange);
}

void NetworkThread::end_exchange(Exchange& exchange) {
  --exchange.connection->open_exchanges_;
  shared_.sink.on_answered(exchange);
  exchange.release();
}

void NetworkThread::serve_write(Connection& connection) {
  if (!connection.writable_ || connection.loading_) return;
  write_now_ns_ = 0;
  auto stop = connection.writer_.run(connection.socket_.get(), shared_.loader != nullptr, write_scratch_.get(), *this);
  connection.active_ns_ = now_ns_;
  switch (stop) {
    case FrameWriter::Stop::kNothing: break;
    case FrameWriter::Stop::kBlocked: connection.writable_ = false; break;
    case FrameWriter::Stop::kTurnOver: make_ready(connection); break;
    case FrameWriter::Stop::kCold: load_slice(connection); break;
    case FrameWriter::Stop::kClose:
      connection.writer_.first()->sent_ns = shared_.clock.monotonic_ns();
      close(connection, "closed by the broker");
      return;
    case FrameWriter::Stop::kBroken: close(connection, "cannot send"); return;
  }
  if (connection.open_exchanges_ == 0 && (connection.at_end_ || draining_)) {
    close(connection, draining_ ? "shutting down" : "closed by the peer");
    return;
  }
  if (connection.pipeline_full_) {
    int limit = shared_.options.max_pipelined_requests;
    if (connection.open_exchanges_ <= limit - limit / 4) make_ready(connection);
  }
}

void NetworkThread::load_slice(Connection& connection) {
  connection.loading_ = true;
  shared_.loader->load(connection.writer_.to_load(), [inbox = inbox_, id = connection.id] {
    inbox->post([id](NetworkThread& self) {
      Connection* connection = self.find(id);
      if (connection == nullptr) return;
      connection->loading_ = false;
      connection->writer_.loaded();
      self.make_ready(*connection);
    });
  });
}

}  // namespace odradek::net
