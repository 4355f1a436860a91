//! The converters that a service may use, with their arguments.
//!
//! Source: `configuration.txt` 7.3.1, "Converters", of HAProxy 2.2 to 3.4, and what `haproxy -dKall` lists.

use super::fetches::Row;

/// The converters with their arguments.
#[rustfmt::skip]
pub const CONVERTERS: &[Row] = &[
    ("b64dec base2 base64 bool cpl cut_crlf even odd hex hex2i host_only htonl http_date language length lower upper neg not \
      port_only reverse reverse_dom rfc7239_is_valid rfc7239_n2nn rfc7239_n2np rfc7239_nn rfc7239_np sha1 ub64dec ub64enc \
      utf8 x509_v_err_str date eth.data eth.dst eth.hdr eth.proto eth.src eth.vlan fix_is_valid mqtt_is_valid ip.data ip.df \
      ip.dst ip.hdr ip.proto ip.src ip.tos ip.ttl ip.ver tcp.dst tcp.flags tcp.options.mss tcp.options.sack \
      tcp.options.tsopt tcp.options.tsval tcp.options.wscale tcp.options.wsopt tcp.options_list tcp.seq tcp.src tcp.win", ""),
    ("add and div mod mul or sub xor", "number-or-variable"),
    ("crc32 crc32c djb2 sdbm sha2 wt6 xxh3 xxh32 xxh64 ip.fp url_dec", "number?"),
    ("strcmp secure_memcmp unset-var", "variable"),
    ("set-var", "variable,set-condition*"), ("concat", "text?,variable?,text?"), ("add_item", "text,variable?,text?"),
    ("iif", "text,text"), ("bytes", "number-or-variable,number-or-variable?"), ("capture-req capture-res", "number"),
    ("ipmask", "text,text?"), ("field word", "number,text,number?"), ("regsub", "regex,text,text?"),
    ("json", "text?"), ("json_query", "text,text?"), ("jwt_header_query jwt_payload_query", "text?,text?"),
    ("ltrim rtrim rfc7239_field fix_tag_value digest", "text"), ("hmac mqtt_field_value", "text,text"),
    ("url_enc has_ctl", "text?"), ("param", "text,text?"), ("protobuf ungrpc", "text,text?"),
    ("be2dec be2hex le2dec", "text?,number?,number?"),
    ("ltime ms_ltime ms_utime us_ltime us_utime utime", "text,number?"),
    ("aes_cbc_dec aes_cbc_enc", "number,text,text,text?"), ("aes_gcm_dec aes_gcm_enc", "number,text,text,text,text?"),
    ("language", "text,text?"), ("http_date", "number?,text?"),
    // The section's own stick table.
    ("in_table table_bytes_in_rate table_bytes_out_rate table_clr_gpc0 table_clr_gpc1 table_conn_cnt table_conn_cur \
      table_conn_rate table_glitch_cnt table_glitch_rate table_gpc0 table_gpc0_rate table_gpc1 table_gpc1_rate table_gpt0 \
      table_http_err_cnt table_http_err_rate table_http_fail_cnt table_http_fail_rate table_http_req_cnt \
      table_http_req_rate table_inc_gpc0 table_inc_gpc1 table_kbytes_in table_kbytes_out table_server_id table_sess_cnt \
      table_sess_rate table_trackers", "own-section?"),
    ("table_clr_gpc table_gpc table_gpc_rate table_gpt table_inc_gpc", "number,own-section?"),
    ("table_expire table_idle", "own-section?,number?"),
];

/// Converters whose result is an IP address.
pub const ADDRESSES: &[&str] = &["ipmask", "ip.dst", "ip.src"];

/// Converters that leave the type of a sample as it is.
pub const TRANSPARENT: &[&str] = &["set-var", "unset-var"];

/// Converters that a service may not use, with the reason. A name that ends in `*` covers all names with that beginning.
#[rustfmt::skip]
pub const REFUSED: &[(&str, &str)] = &[
    ("map map_*", "it reads a file of HAProxy's machine"),
    ("jwt_verify* jwt_decrypt*", "it reads a key or a certificate of HAProxy's machine"),
    ("debug", "it writes to the output of HAProxy"),
    ("nbsrv srv_is_up srv_queue fe_exists", "it reads the state of any section"),
    ("when", "it is meant for the operator's diagnosis"),
    ("lua.*", "it runs Lua code"),
];
