#include "cli/cluster/http.h"

#include <charconv>

#include "model/error_code.h"

namespace odradek::cli {

Result<HttpAnswer> http_get(net::Dialer& dialer, const std::string& url, int64_t deadline_ns) {
  constexpr std::string_view kScheme = "http://";
  constexpr size_t kMost = 64 << 20;
  if (!url.starts_with(kScheme)) return fail(ErrorCode::kInvalidRequest, url + " does not begin with http://");
  std::string rest = url.substr(kScheme.size());
  size_t slash = rest.find('/');
  std::string host = rest.substr(0, slash), path = slash == std::string::npos ? "/" : rest.substr(slash);
  bool has_port = host.find(':', host.find(']') == std::string::npos ? 0 : host.find(']')) != std::string::npos;
  auto address = net::parse_endpoint(has_port ? host : host + ":80");
  if (!address) return fail(std::move(address.error()));
  auto stream = dialer.dial(*address, deadline_ns);
  if (!stream) return fail(std::move(stream.error()));
  std::string request = "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
  ByteView part = as_bytes(request);
  if (auto sent = (*stream)->send({&part, 1}, deadline_ns); !sent) return fail(std::move(sent.error()));
  std::string text;
  Bytes buffer(64 << 10);
  for (;;) {
    auto got = (*stream)->receive(buffer, deadline_ns);
    if (!got && got.error().code == ErrorCode::kNetworkException && !text.empty()) break;  // the end of the answer
    if (!got) return fail(std::move(got.error()));
    text.append(as_text(ByteView(buffer).first(*got)));
    if (text.size() > kMost) return fail(ErrorCode::kInvalidRequest, url + " answers without end");
  }
  size_t body = text.find("\r\n\r\n"), space = text.find(' ');
  HttpAnswer answer;
  if (!text.starts_with("HTTP/1.") || body == std::string::npos || space > body) return fail(ErrorCode::kInvalidRequest, url + " does not answer in HTTP");
  std::from_chars(text.data() + space + 1, text.data() + body, answer.status);
  answer.body = text.substr(body + 4);
  return answer;
}

}  // namespace odradek::cli
