//! The status page: what an operator sees in a browser, at `/`.
//!
//! Owns the page's files, compiled in, and the policy under which a browser runs them: nothing from
//! elsewhere, nothing inline, nobody frames it. Refuses to know what the numbers mean: the page asks
//! the API, as anybody may. Read `page.html` next, then `page.js`, which names its parts.

use actix_web::http::header;
use actix_web::{HttpResponse, guard, web};

/// What the browser may do for this page. Trusted types forbid text to become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, media type and text of every file. The page names them relative to itself.
const FILES: [(&str, &str, &str); 15] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", SCRIPT, include_str!("page.js")),
    ("/favicon.svg", "image/svg+xml", include_str!("favicon.svg")),
    ("/parts/api.js", SCRIPT, include_str!("parts/api.js")),
    ("/parts/ask.js", SCRIPT, include_str!("parts/ask.js")),
    ("/parts/attempts.js", SCRIPT, include_str!("parts/attempts.js")),
    ("/parts/card.js", SCRIPT, include_str!("parts/card.js")),
    ("/parts/dom.js", SCRIPT, include_str!("parts/dom.js")),
    ("/parts/format.js", SCRIPT, include_str!("parts/format.js")),
    ("/parts/letters.js", SCRIPT, include_str!("parts/letters.js")),
    ("/parts/reload.js", SCRIPT, include_str!("parts/reload.js")),
    ("/parts/stream.js", SCRIPT, include_str!("parts/stream.js")),
    ("/parts/trial.js", SCRIPT, include_str!("parts/trial.js")),
    ("/parts/verdict.js", SCRIPT, include_str!("parts/verdict.js")),
];

/// Adds the page to the listener.
pub fn routes(cfg: &mut web::ServiceConfig) {
    for (path, media_type, text) in FILES {
        let answer = move || async move {
            HttpResponse::Ok()
                .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
                .content_type(media_type)
                .body(text)
        };
        let reading = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
        cfg.route(path, reading.to(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, POLICY};

    /// What stands between `before` and the next quote, everywhere in a text.
    fn named<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let parts = text.split(before).skip(1);
        parts.filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut names = 0;
        for (path, _, text) in FILES {
            let inside = path.starts_with("/parts/");
            for before in ["from \"", " src=\"", " href=\""] {
                for name in named(text, before).into_iter().filter(|name| !name.starts_with('#')) {
                    let bare = name.trim_start_matches("./");
                    let whole = if inside { format!("/parts/{bare}") } else { format!("/{bare}") };
                    let served = FILES.iter().any(|(path, _, _)| *path == whole);
                    assert!(served, "{path} names {name}: {whole}");
                    names += 1;
                }
            }
        }
        assert!(names > FILES.len(), "only {names} names were found");
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for (path, _, text) in FILES {
            for word in
                ["style=\"", " onclick", "innerHTML", "outerHTML", "insertAdjacent", "eval("]
            {
                assert!(!text.contains(word), "{path} has {word}");
            }
            // The name of a vocabulary is no address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{path} names an address");
        }
        assert!(!POLICY.contains("unsafe"), "{POLICY}");
    }
}
