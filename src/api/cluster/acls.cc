// DescribeAcls, CreateAcls, DeleteAcls without an authorizer (a broker with one refuses to start): each says so, as Kafka does.
#include <string>

#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "protocol/messages/create_acls.h"
#include "protocol/messages/delete_acls.h"
#include "protocol/messages/describe_acls.h"

namespace odradek::api {

namespace {

// Kafka cannot read a request that names the kind 0 (UNKNOWN) in one of these fields.
bool has_unknown(int8_t resource_type, int8_t pattern_type, int8_t operation, int8_t permission_type) {
  return resource_type == 0 || pattern_type == 0 || operation == 0 || permission_type == 0;
}

void refuse_unknown(request::RequestPtr request, const char* what) {
  refuse(std::move(request), Error{ErrorCode::kInvalidRequest, std::string(what) + " has an UNKNOWN resource type, pattern type, operation or permission type"});
}

}  // namespace

void handle_describe_acls(Services&, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DescribeAclsRequest>(request);
  if (!asked) return;
  if (has_unknown(asked->resource_type_filter, asked->pattern_type_filter, asked->operation, asked->permission_type)) {
    return refuse_unknown(std::move(request), "DescribeAclsRequest");
  }
  protocol::DescribeAclsResponse response;
  response.error_code = wire(ErrorCode::kSecurityDisabled);
  response.error_message = "No Authorizer is configured on the broker";
  request->finish(response);
}

void handle_create_acls(Services&, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::CreateAclsRequest>(request);
  if (!asked) return;
  protocol::CreateAclsResponse response;
  for (const auto& creation : asked->creations) {
    if (has_unknown(creation.resource_type, creation.resource_pattern_type, creation.operation, creation.permission_type)) {
      return refuse_unknown(std::move(request), "CreateAclsRequest");
    }
    auto& result = response.results.emplace_back();
    result.error_code = wire(ErrorCode::kSecurityDisabled);
    result.error_message = "No Authorizer is configured.";
  }
  request->finish(response);
}

void handle_delete_acls(Services&, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DeleteAclsRequest>(request);
  if (!asked) return;
  protocol::DeleteAclsResponse response;
  for (const auto& filter : asked->filters) {
    if (has_unknown(filter.resource_type_filter, filter.pattern_type_filter, filter.operation, filter.permission_type)) {
      return refuse_unknown(std::move(request), "DeleteAclsRequest");
    }
    auto& result = response.filter_results.emplace_back();
    result.error_code = wire(ErrorCode::kSecurityDisabled);
    result.error_message = "No Authorizer is configured.";
  }
  request->finish(response);
}

}  // namespace odradek::api
